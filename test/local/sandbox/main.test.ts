import { describe, expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Api } from "grammy";
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import { tokenOf } from "./support.ts";

const main = new URL("../../../services/local/sandbox/main.ts", import.meta.url).pathname;

/** The sandbox as a process of its own, with the address that it prints. */
async function startProcess(environment: Record<string, string>) {
  const env = { ...process.env, SANDBOX_PORT: "0", SANDBOX_CONTROL_PORT: "0", ...environment };
  const child = Bun.spawn([process.execPath, main], { env, stdout: "pipe", stderr: "pipe" });
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += new TextDecoder().decode(chunk);
    if (printed.includes("\n")) break;
  }
  const url = /http:\/\/[\d.:]+/.exec(printed)?.[0] ?? "";
  const stop = async () => {
    child.kill("SIGTERM");
    return child.exited;
  };
  return { child, url, stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

async function setup() {
  const folder = await mkdtemp(join(tmpdir(), "sandbox-"));
  const stateFile = join(folder, "state.json");
  return { stateFile, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

describe("the sandbox's process", () => {
  test("keeps bots, webhooks and blocks over a restart, in a file of its owner's", async () => {
    await using world = await setup();
    {
      await using first = await startProcess({ SANDBOX_STATE: world.stateFile });
      await new Api(tokenOf(1), { apiRoot: first.url }).setWebhook("http://127.0.0.1:1/hook");
      const control = createSandboxClient(first.url);
      await control.block(1, 10);
      await control.revokeToken(tokenOf(2));
      expect(await first.stop()).toBe(0);
    }
    expect((await stat(world.stateFile)).mode & 0o777).toBe(0o600);
    await using second = await startProcess({ SANDBOX_STATE: world.stateFile });
    const api = new Api(tokenOf(1), { apiRoot: second.url });
    expect((await api.getWebhookInfo()).url).toBe("http://127.0.0.1:1/hook");
    await expect(api.sendMessage(10, "hi")).rejects.toMatchObject({ error_code: 403 });
    const revoked = new Api(tokenOf(2), { apiRoot: second.url });
    await expect(revoked.getMe()).rejects.toMatchObject({ error_code: 401 });
  });

  test("does not start with a port that is none", async () => {
    await using started = await startProcess({ SANDBOX_PORT: "many" });
    expect(await started.child.exited).toBe(1);
    expect(await new Response(started.child.stderr).text()).toContain("SANDBOX_PORT");
  });
});
