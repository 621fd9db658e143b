import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { deliveryHeap } from "#services/delivery/heap.ts";
import { planSandbox, planServices } from "#services/local/supervisor/plan.ts";
import { grants } from "#services/local/supervisor/secrets.ts";
import { readSettings } from "#services/local/supervisor/settings.ts";
import { hashOfSecret } from "#services/platform/variables.ts";

const secretOf = (name: string) => `${name}-secret-of-the-test`;

function plan(env: Record<string, string> = {}) {
  const settings = readSettings(env, "/repository");
  const ground = {
    ports: settings.ports,
    metricsPorts: { account: 8001, campaign: 8002, broadcast: 8003, delivery: 8004, gateway: 9080 },
    databaseUrl: "postgres://u:p@127.0.0.1:5/leadcast",
    natsUrl: "nats://127.0.0.1:6",
    rpcTokens: Object.entries(grants).map(([name, allow]) => ({ name, secret: secretOf(name), allow })),
    secretKeys: "k1:abc",
  };
  const services = planServices(settings, ground);
  return { settings, services, envOf: (name: string) => services.find((one) => one.name === name)!.env };
}

describe("planServices", () => {
  const secrets = ["DATABASE_URL", "NATS_URL", "RPC_TOKEN", "RPC_TOKENS", "SECRET_KEYS", "SERVICE_BOT_TOKEN"];
  test.each([
    ["account", ["DATABASE_URL", "RPC_TOKENS"]],
    ["campaign", ["DATABASE_URL", "RPC_TOKEN", "RPC_TOKENS", "SECRET_KEYS"]],
    ["broadcast", ["DATABASE_URL", "NATS_URL", "RPC_TOKEN", "RPC_TOKENS"]],
    ["delivery", ["DATABASE_URL", "NATS_URL", "RPC_TOKENS", "SECRET_KEYS", "SERVICE_BOT_TOKEN"]],
    ["gateway", ["RPC_TOKEN"]],
  ])("gives %s the secrets that it uses, and no other", (name, used) => {
    const given = {
      SERVICE_BOT_TOKEN: "1:x",
      HOME: "/home/me",
      SECRET_KEYS: `k1:${randomBytes(32).toString("base64")}`,
    };
    const env = plan(given).envOf(name);
    expect(secrets.filter((secret) => env[secret] !== undefined && env[secret] !== "")).toEqual(used);
    expect(env.HOME).toBe("/home/me");
  });

  test.each([
    ["account", ["platform", "gateway"]],
    ["campaign", ["platform", "gateway"]],
    ["broadcast", ["platform", "gateway"]],
    ["delivery", ["platform", "campaign", "broadcast"]],
  ])("tells %s the hashes of its own callers, and nobody's secret", (name, callers) => {
    const text = plan().envOf(name).RPC_TOKENS!;
    const tokens = JSON.parse(text) as { name: string; hash: string; allow: string[] }[];
    expect(tokens.map((token) => token.name)).toEqual(callers);
    for (const token of tokens) expect(token.hash).toBe(hashOfSecret(secretOf(token.name)));
    expect(text).not.toContain("secret-of-the-test");
    const own = new RegExp(`^(\\*|leadcast\\.${name}\\.v1\\.\\w+/\\w+)$`);
    for (const pattern of tokens.flatMap((token) => token.allow)) expect(pattern).toMatch(own);
  });

  test("passes on a secret's file to those who read it, and certificates to those who show them", () => {
    const files = {
      NATS_PASSWORD_FILE: "/run/secrets/nats",
      NATS_USER: "leadcast",
      DATABASE_KEY: "/run/secrets/database.key",
      SERVICE_BOT_TOKEN_FILE: "/run/secrets/bot",
    };
    const { envOf } = plan(files);
    const holders = (variable: string) =>
      ["account", "campaign", "broadcast", "delivery", "gateway"].filter((name) => variable in envOf(name));
    expect(holders("NATS_PASSWORD_FILE")).toEqual(["broadcast", "delivery"]);
    expect(holders("DATABASE_KEY")).toEqual(["account", "campaign", "broadcast", "delivery"]);
    expect(holders("SERVICE_BOT_TOKEN_FILE")).toEqual(["delivery"]);
    expect(envOf("delivery").SERVICE_BOT_TOKEN).toBeUndefined();
  });

  test("writes IPv6 addresses in brackets, and reaches at its own address what listens on all", () => {
    const { envOf } = plan({ DELIVERY_HOST: "::1", ACCOUNT_HOST: "::", CAMPAIGN_HOST: "0.0.0.0" });
    expect(envOf("gateway")).toMatchObject({ ACCOUNT_URL: "http://[::1]:7001", CAMPAIGN_URL: "http://127.0.0.1:7002" });
    expect(envOf("broadcast")).toMatchObject({ DELIVERY_URL: "http://[::1]:7004", BROADCAST_METRICS_PORT: "8003" });
  });

  test("points everybody at each other and at the sandbox", () => {
    const { envOf } = plan({ ACCOUNT_PORT: "9001" });
    expect(envOf("gateway")).toMatchObject({ ACCOUNT_URL: "http://127.0.0.1:9001" });
    expect(envOf("delivery")).toMatchObject({ TELEGRAM_API_ROOT: "http://127.0.0.1:7010" });
    expect(envOf("broadcast")).toMatchObject({
      DELIVERY_URL: "http://127.0.0.1:7004",
      DATABASE_URL: "postgres://u:p@127.0.0.1:5/leadcast",
    });
    expect(envOf("delivery").SERVICE_BOT_TOKEN).toMatch(/^\d{5,}:[\w-]{30,}$/);
  });

  test("bounds delivery's heap and nobody else's, unless the environment says how", () => {
    const bound = "BUN_JSC_heapGrowthMaxIncrease";
    expect(plan().envOf("delivery")).toMatchObject(deliveryHeap);
    expect(plan().envOf("broadcast")).not.toHaveProperty(bound);
    expect(plan({ [bound]: "2" }).envOf("delivery")[bound]).toBe("2");
  });

  test("leaves alone what the environment decides", () => {
    const { envOf } = plan({ TELEGRAM_API_ROOT: "https://api.telegram.org", PUBLIC_URL: "https://example.com" });
    expect(envOf("delivery")).toMatchObject({
      TELEGRAM_API_ROOT: "https://api.telegram.org",
      PUBLIC_URL: "https://example.com",
    });
    expect(envOf("delivery").SERVICE_BOT_TOKEN).toBeUndefined();
  });
});

describe("planSandbox", () => {
  test("keeps the sandbox's bots and blocks beside the other data", () => {
    const { settings } = plan();
    expect(planSandbox(settings, 7010).env).toMatchObject({
      SANDBOX_PORT: "7010",
      SANDBOX_STATE: "/repository/.data/sandbox.json",
    });
  });
});
