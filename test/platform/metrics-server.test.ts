import { describe, expect, test } from "bun:test";
import { createMetrics } from "#services/platform/metrics.ts";
import { startMetricsServer, usualMetricsPort } from "#services/platform/metrics-server.ts";
import { eventually } from "#test/support/eventually.ts";
import { captureLog } from "./captured-log.ts";

async function setup(port: number | undefined, mainPort = 0, host = "127.0.0.1") {
  const captured = captureLog();
  let ready = true;
  const options = { host, port, mainPort, process: "ACCOUNT", metrics: createMetrics("account"), log: captured.log };
  const server = await startMetricsServer({ ...options, isReady: async () => ready });
  const url = host === "::1" ? `http://[::1]:${server.port}` : `http://127.0.0.1:${server.port}`;
  return {
    server,
    url,
    log: captured,
    setReady: (value: boolean) => {
      ready = value;
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

describe("startMetricsServer", () => {
  test.each(["127.0.0.1", "::1"])("tells metrics and health at %s, and nothing else", async (host) => {
    await using world = await setup(0, 0, host);
    expect(await (await fetch(`${world.url}/metrics`)).text()).toContain("process_cpu_user_seconds_total");
    expect(await (await fetch(`${world.url}/healthz`)).json()).toEqual({ ready: true });
    world.setReady(false);
    const head = () => fetch(`${world.url}/healthz`, { method: "HEAD" });
    await eventually(async () => (await head()).status === 503);
    for (const path of ["/", "/api/broadcast/list.json", "/metrics/x", "//"]) {
      expect((await fetch(`${world.url}${path}`)).status).toBe(404);
    }
    expect((await fetch(`${world.url}/metrics`, { method: "POST" })).status).toBe(404);
  });

  test("takes a free port, and says so, where the usual one is taken; one that was asked for is an error", async () => {
    await using first = await setup(0);
    const main = first.server.port - 1_000;
    await using second = await setup(undefined, main);
    expect(second.server.port).not.toBe(first.server.port);
    expect(second.log.text()).toContain("ACCOUNT_METRICS_PORT");
    await expect(setup(first.server.port)).rejects.toThrow(
      `ACCOUNT_METRICS_PORT: Port ${first.server.port} on 127.0.0.1 is taken by another process.`,
    );
  });
});

describe("usualMetricsPort", () => {
  test.each([
    [7001, 8001],
    [8080, 9080],
    [65_000, 64_000],
  ])("of %p is %p", (port, metrics) => expect(usualMetricsPort(port)).toBe(metrics));
});
