import { afterEach, describe, expect, test } from "bun:test";
import type { Subprocess } from "bun";

const tokens = JSON.stringify([{ name: "gateway", secret: "gateway-secret-0001", allow: ["*"] }]);
const running: Subprocess[] = [];

afterEach(async () => {
  for (const process of running.splice(0)) {
    process.kill("SIGKILL");
    await process.exited;
  }
});

function start(env: Record<string, string>) {
  const main = new URL("../../gateway/main.ts", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, main], {
    env: { PATH: process.env.PATH ?? "", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  running.push(child);
  return child;
}

/** The port of the `ready` line. What comes after is read too: a closed pipe would break the process's log. */
function readyPort(stdout: ReadableStream<Uint8Array>): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const decoder = new TextDecoder();
  const read = async () => {
    let text = "";
    for await (const chunk of stdout) {
      text += decoder.decode(chunk, { stream: true });
      const ready = text.split("\n").find((line) => line.includes('"msg":"ready"') && line.endsWith("}"));
      if (ready !== undefined) resolve((JSON.parse(ready) as { port: number }).port);
    }
    throw new Error(`the gateway ended before it was ready: ${text}`);
  };
  read().catch(reject);
  return promise;
}

describe("the gateway's process", () => {
  test("serves while its services are away, and says db for what needs them", async () => {
    const away = "http://127.0.0.1:1";
    const urls = { ACCOUNT_URL: away, CAMPAIGN_URL: away, BROADCAST_URL: away };
    const child = start({ GATEWAY_PORT: "0", RPC_TOKENS: tokens, ...urls });
    const url = `http://127.0.0.1:${await readyPort(child.stdout)}`;
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    const headers = { authorization: "Bearer abc" };
    expect(await (await fetch(`${url}/api/broadcast/list.json`, { headers })).json()).toMatchObject({ error: "db" });
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("names everything that is wrong with its configuration, and shows no secret", async () => {
    const child = start({ GATEWAY_PORT: "http", ACCOUNT_URL: "nowhere", RPC_TOKENS: "my-secret" });
    const errors = await new Response(child.stderr).text();
    expect(await child.exited).toBe(78);
    for (const name of ["GATEWAY_PORT", "ACCOUNT_URL", "RPC_TOKENS"]) expect(errors).toContain(name);
    expect(errors).not.toContain("my-secret");
  });

  test("needs a token of its own", async () => {
    const child = start({ GATEWAY_PORT: "0", RPC_TOKENS: tokens.replace("gateway", "other") });
    expect(await new Response(child.stderr).text()).toContain("RPC_TOKEN: is not set");
    expect(await child.exited).toBe(78);
  });
});
