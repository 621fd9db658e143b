import { connect } from "node:net";
import { Api, GrammyError, HttpError } from "grammy";
import { createSandbox, type Sandbox, type SandboxOptions } from "#services/local/sandbox/server.ts";
import { unlimited } from "#services/local/sandbox/settings.ts";

export function tokenOf(bot: number): string {
  return `${bot}:${"t".repeat(35)}`;
}

/** A started sandbox without limits on the pace, but for the settings that are given; `await using` stops it. */
export async function startSandbox(settings: SandboxOptions["settings"] = {}, options: SandboxOptions = {}) {
  const sandbox = createSandbox({ ...options, settings: { ...unlimited, ...settings } });
  await sandbox.start();
  const { control } = sandbox;
  const api = (bot = 1, timeoutSeconds = 5) => new Api(tokenOf(bot), { apiRoot: sandbox.url, timeoutSeconds });
  const call = (method: string, init: RequestInit = {}, bot = 1) =>
    fetch(`${sandbox.url}/bot${tokenOf(bot)}/${method}`, init);
  return { sandbox, control, api, call, [Symbol.asyncDispose]: () => sandbox.stop() };
}

/** What a call failed with: Telegram's answer, or that there was none. */
export async function failureOf(call: Promise<unknown>): Promise<GrammyError | HttpError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof GrammyError || error instanceof HttpError) return error;
    throw error;
  }
  throw new Error("The call did not fail.");
}

/** Sends one sendMessage over a bare socket and returns every byte that comes back until the connection ends. */
export function rawSend(sandbox: Sandbox, chat: number, signal?: AbortSignal): Promise<{ bytes: string; end: string }> {
  const body = JSON.stringify({ chat_id: chat, text: "hi" });
  const { promise, resolve } = Promise.withResolvers<{ bytes: string; end: string }>();
  const socket = connect(sandbox.port, "127.0.0.1");
  let bytes = "";
  let end = "eof";
  socket.on("data", (chunk) => {
    bytes += chunk;
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    end = error.code ?? "error";
  });
  socket.on("close", () => resolve({ bytes, end }));
  signal?.addEventListener("abort", () => socket.destroy());
  const head = `POST /bot${tokenOf(1)}/sendMessage HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n`;
  socket.write(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  return promise;
}
