/** Every kind of port, each of a real process, with a way to tell that it is still the same process and still works. */

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { type ServiceProcess, startService } from "#test/support/service-process.ts";

export const portNames = ["gateway", "rpc", "sandbox", "sandbox control", "metrics"] as const;
export type PortName = (typeof portNames)[number];

export interface Port {
  readonly port: number;
  readonly pid: number;
  /** A path that GET answers with 200. */
  readonly goodPath: string;
  /** Header of a caller that is known: whoever tries with wrong tokens is throttled. */
  readonly authorization: string;
  /** Fails unless the process is the one that was started, has logged no error, and serves as ever. */
  expectWell(): Promise<void>;
  /** Resident memory in bytes. */
  memory(): number;
}

export interface Ports extends Record<PortName, Port>, AsyncDisposable {}

const serviceToken = "transport-secret-0001";
const rpcTokens = JSON.stringify([
  { name: "gateway", secret: serviceToken, allow: ["leadcast.account.v1.AccountService/*"] },
]);

export async function startPorts(): Promise<Ports> {
  const database = await createTestDatabase();
  const account = await startService("services/account/main.ts", {
    DATABASE_URL: database.url,
    ACCOUNT_PORT: "0",
    ACCOUNT_METRICS_PORT: "0",
    RPC_TOKENS: rpcTokens,
  });
  const session = await createSession(`http://127.0.0.1:${account.port}`);
  const nowhere = "http://127.0.0.1:1";
  const [gateway, sandbox] = await Promise.all([
    startService("gateway/main.ts", {
      GATEWAY_PORT: "0",
      GATEWAY_METRICS_PORT: "0",
      RPC_TOKENS: rpcTokens,
      ACCOUNT_URL: `http://127.0.0.1:${account.port}`,
      CAMPAIGN_URL: nowhere,
      BROADCAST_URL: nowhere,
    }),
    startSandbox(),
  ]);
  const controlPort = Number(new URL(controlUrl(sandbox)).port);
  const processes = [account, gateway, sandbox];
  return {
    gateway: {
      ...portOf(gateway, gateway.port, (url) => askGateway(url, session)),
      goodPath: "/healthz",
      authorization: `Bearer ${session}`,
    },
    rpc: {
      ...portOf(account, account.port, (url) => askAccount(url, session)),
      goodPath: "/healthz",
      authorization: `Bearer ${serviceToken}`,
    },
    sandbox: { ...portOf(sandbox, sandbox.port, askSandbox), goodPath: "/", authorization: "Bearer none" },
    "sandbox control": { ...portOf(sandbox, controlPort, askControl), goodPath: "/", authorization: "Bearer none" },
    metrics: {
      ...portOf(account, metricsPort(account), askMetrics),
      goodPath: "/metrics",
      authorization: "Bearer none",
    },
    [Symbol.asyncDispose]: async () => {
      const exitCodes = await Promise.all(processes.map((process) => process.stop()));
      await database.drop();
      expect(exitCodes).toEqual(processes.map(() => 0));
    },
  };
}

function startSandbox(): Promise<ServiceProcess> {
  const env = { SANDBOX_PORT: "0", SANDBOX_CONTROL_PORT: "0" };
  return startService("services/local/sandbox/main.ts", env, (line) => {
    const port = /sandbox at http:\/\/127\.0\.0\.1:(\d+),/.exec(line)?.[1];
    return port === undefined ? undefined : Number(port);
  });
}

function controlUrl(sandbox: ServiceProcess): string {
  return /controls that stay open at (\S+)/.exec(sandbox.output())![1]!;
}

function metricsPort(service: ServiceProcess): number {
  return Number(/"metrics":"http:\/\/127\.0\.0\.1:(\d+)\/metrics"/.exec(service.output())![1]);
}

function portOf(
  process: ServiceProcess,
  port: number,
  ask: (url: string) => Promise<unknown>,
): Omit<Port, "goodPath" | "authorization"> {
  const { pid } = process;
  const started = startTime(pid);
  return {
    port,
    pid,
    expectWell: async () => {
      await ask(`http://127.0.0.1:${port}`);
      expect(startTime(pid)).toBe(started);
      expect(faultsIn(process.output())).toEqual([]);
    },
    memory: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024,
  };
}

/** Field 22 of the process's stat: a process that took the same number later has another one. */
function startTime(pid: number): string {
  const afterName = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!;
  return afterName.split(" ")[19]!;
}

/** Lines of level error, calls that ended as our fault, and whatever a runtime prints when it is in trouble. */
function faultsIn(output: string): string[] {
  const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith("Bot API sandbox at"));
  return lines.filter((line, index) => {
    // Only the end is kept of what it has printed, so the first line may be a part of one.
    if (index === 0) return false;
    const isWhole = line.startsWith("{") && line.endsWith("}");
    return (
      !isWhole || /"level":"(?:warn|error|fatal)"|"code":"(?:internal|unknown)"|"outcome":"(?:db|5\d\d)"/.test(line)
    );
  });
}

/** A session of an account that has not paid; wrong ones would be throttled. */
async function createSession(accountUrl: string): Promise<string> {
  const transport = createRpcTransport({ baseUrl: accountUrl, token: serviceToken });
  const accounts = createClient(AccountService, transport);
  const { tariff } = await accounts.putTariff({ tariff: { name: "Pro" } });
  const { account } = await accounts.putAccount({ account: { tariffId: tariff!.id } });
  return (await accounts.createSession({ accountId: account!.id })).token;
}

/** Goes through the account service to the database and back. */
async function askGateway(url: string, session: string): Promise<void> {
  const headers = { authorization: `Bearer ${session}` };
  const reply = await fetch(`${url}/api/broadcast/list.json`, { headers });
  expect(await reply.json()).toMatchObject({ status: "error", error: "unpaid" });
}

async function askAccount(url: string, session: string): Promise<void> {
  const reply = await fetch(`${url}/leadcast.account.v1.AccountService/ResolveSession`, {
    method: "POST",
    headers: { authorization: `Bearer ${serviceToken}`, "content-type": "application/json" },
    body: JSON.stringify({ token: session }),
  });
  expect(await reply.json()).toMatchObject({ accountId: expect.any(String) });
}

async function askMetrics(url: string): Promise<void> {
  expect(await (await fetch(`${url}/metrics`)).text()).toStartWith("# HELP");
}

async function askSandbox(url: string): Promise<void> {
  const reply = await fetch(`${url}/bot7010001:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/getMe`);
  expect(await reply.json()).toMatchObject({ ok: true });
}

async function askControl(url: string): Promise<void> {
  const reply = await fetch(`${url}/_sandbox/address`);
  expect(await reply.json()).toMatchObject({ controlUrl: expect.any(String) });
}
