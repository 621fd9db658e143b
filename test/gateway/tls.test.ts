/** The gateway's and a service's processes with certificates on both ports, and what happens where one is missing. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect as connectHttp2 } from "node:http2";
import { createAuthority, type Issued, type TestAuthority } from "#test/support/certificates.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { runService, type ServiceProcess, startService } from "#test/support/service-process.ts";

const secret = "gateway-secret-0001";
let authority: TestAuthority;
let [server, client]: Issued[] = [];
let database: TestDatabase;
let account: ServiceProcess;

beforeAll(async () => {
  [authority, database] = await Promise.all([createAuthority(), createTestDatabase()]);
  server = await authority.issue({ name: "server" });
  client = await authority.issue({ name: "client" });
  account = await startService("services/account/main.ts", {
    DATABASE_URL: database.url,
    ACCOUNT_HOST: "::1",
    ACCOUNT_PORT: "0",
    ACCOUNT_METRICS_PORT: "0",
    RPC_TOKENS: JSON.stringify([{ name: "gateway", secret, allow: ["*"] }]),
    RPC_TLS_CERT: server.certPath,
    RPC_TLS_KEY: server.keyPath,
    RPC_TLS_CLIENT_CA: authority.caPath,
  });
});
afterAll(async () => {
  await account?.stop();
  await database?.drop();
});

function environment(extra: Record<string, string> = {}): Record<string, string> {
  const url = `https://localhost:${account.port}/`;
  return {
    GATEWAY_PORT: "0",
    GATEWAY_METRICS_PORT: "0",
    GATEWAY_TLS_CERT: server!.certPath,
    GATEWAY_TLS_KEY: server!.keyPath,
    ACCOUNT_URL: url,
    CAMPAIGN_URL: url,
    BROADCAST_URL: url,
    RPC_TOKEN: secret,
    RPC_TLS_CA: authority.caPath,
    ...extra,
  };
}

const shown = () => ({ RPC_TLS_CLIENT_CERT: client!.certPath, RPC_TLS_CLIENT_KEY: client!.keyPath });

/** What a session that nobody has made is told: the account service alone knows that. */
async function errorOf(gateway: ServiceProcess, tls: object = {}): Promise<string> {
  const url = `https://localhost:${gateway.port}/api/broadcast/list.json`;
  const reply = await fetch(url, { headers: { authorization: "Bearer nobody" }, tls: { ca: authority.ca, ...tls } });
  return ((await reply.json()) as { error?: string; code?: string }).error ?? `HTTP ${reply.status}`;
}

describe("the gateway with TLS", () => {
  test("reaches services that ask for its certificate, over IPv6 too, and speaks HTTP/1.1 and HTTP/2", async () => {
    const gateway = await startService("gateway/main.ts", environment(shown()));
    expect(await errorOf(gateway)).toBe("key");
    const session = connectHttp2(`https://localhost:${gateway.port}`, { ca: authority.ca });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    session.on("error", reject);
    const stream = session.request({ ":path": "/healthz" });
    stream.on("response", (headers) => resolve(headers[":status"]!));
    stream.resume();
    expect(await promise).toBe(200);
    session.destroy();
    expect(gateway.output()).toContain(`"url":"https://127.0.0.1:${gateway.port}"`);
    expect(account.output()).toContain(`"url":"https://[::1]:${account.port}"`);
    const metrics = await (await fetch(account.metricsUrl!)).text();
    expect(metrics).toContain("leadcast_tls_certificate_end_timestamp_seconds");
    expect(await gateway.stop()).toBe(0);
  });

  test("asks its own clients for certificates where it is told to", async () => {
    const gateway = await startService(
      "gateway/main.ts",
      environment({ ...shown(), GATEWAY_TLS_CLIENT_CA: authority.caPath }),
    );
    expect(await errorOf(gateway)).toBe("HTTP 401");
    expect(await errorOf(gateway, { cert: client!.cert, key: client!.key })).toBe("key");
    expect(await gateway.stop()).toBe(0);
  });

  test.each([
    ["shows no certificate", () => ({}), /none was shown/],
    ["trusts nobody of ours", () => ({ ...shown(), RPC_TLS_CA: "" }), /certificate/],
  ])("that %s is a system that is not well to its customers, and its log says why", async (_, extra, why) => {
    const gateway = await startService("gateway/main.ts", environment(extra()));
    expect(await errorOf(gateway)).toBe("db");
    expect(await gateway.stop()).toBe(0);
    expect(gateway.output()).toMatch(why);
    expect(gateway.output()).not.toContain("PRIVATE KEY");
  });

  test("names everything that is wrong with its certificates", async () => {
    const old = await authority.issue({ name: "old", expired: true });
    const { exitCode, stderr } = await runService("gateway/main.ts", {
      ...environment(),
      GATEWAY_TLS_CERT: old.certPath,
      GATEWAY_TLS_KEY: old.keyPath,
      RPC_TLS_CLIENT_CERT: client!.certPath,
      RPC_TLS_CA: client!.keyPath,
      GATEWAY_METRICS_PORT: "9999",
      GATEWAY_PORT: "9999",
    });
    const names = stderr
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.split(":")[0]);
    expect(names).toEqual(["GATEWAY_METRICS_PORT", "GATEWAY_TLS_CERT", "RPC_TLS_CA", "RPC_TLS_CLIENT_KEY"]);
    expect(exitCode).toBe(78);
  });
});

describe("a process whose port cannot be opened", () => {
  test.each([
    [
      "taken",
      () => ({ GATEWAY_HOST: "::1", GATEWAY_PORT: `${account.port}` }),
      1,
      /^gateway cannot start: GATEWAY_PORT: Port \d+ on \[::1\] is taken by another process\.\n$/,
    ],
    [
      "at no address of this machine",
      () => ({ GATEWAY_HOST: "192.0.2.1" }),
      78,
      /^gateway cannot start with this configuration:\nGATEWAY_HOST: 192\.0\.2\.1 is no address of this machine\n$/,
    ],
    [
      "at a name that nobody knows",
      () => ({ GATEWAY_HOST: "no-such-host.invalid" }),
      78,
      /^gateway cannot start with this configuration:\nGATEWAY_HOST: the name no-such-host\.invalid is not known here\n$/,
    ],
    [
      "taken for metrics",
      () => ({ GATEWAY_METRICS_HOST: "::1", GATEWAY_METRICS_PORT: `${account.port}` }),
      1,
      /^gateway cannot start: GATEWAY_METRICS_PORT: Port \d+ on \[::1\] is taken by another process\.\n$/,
    ],
  ])("because it is %s says so in one sentence", async (_, extra, code, sentence) => {
    const { exitCode, stderr } = await runService("gateway/main.ts", { ...environment(shown()), ...extra() });
    expect(stderr).toMatch(sentence);
    expect(exitCode).toBe(code);
  });
});
