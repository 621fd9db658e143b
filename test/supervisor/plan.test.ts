import { describe, expect, test } from "bun:test";
import { deliveryHeap } from "#services/delivery/heap.ts";
import { planSandbox, planServices } from "#services/supervisor/plan.ts";
import { readSettings } from "#services/supervisor/settings.ts";

function plan(env: Record<string, string> = {}) {
  const settings = readSettings(env, "/repository");
  const ground = {
    ports: settings.ports,
    databaseUrl: "postgres://u:p@127.0.0.1:5/leadcast",
    natsUrl: "nats://127.0.0.1:6",
    rpcTokens: ["platform", "gateway"].map((name) => ({ name, secret: `${name}-secret-of-the-test`, allow: ["*"] })),
    secretKeys: "k1:abc",
  };
  const services = planServices(settings, ground);
  return { settings, services, envOf: (name: string) => services.find((one) => one.name === name)!.env };
}

describe("planServices", () => {
  test("gives the gateway its own token, and neither the database nor the keys", () => {
    const { envOf } = plan({ SERVICE_BOT_TOKEN: "1:x", HOME: "/home/me" });
    const gateway = envOf("gateway");
    expect(JSON.parse(gateway.RPC_TOKENS!).map(({ name }: { name: string }) => name)).toEqual(["gateway"]);
    for (const secret of ["DATABASE_URL", "NATS_URL", "SECRET_KEYS", "SERVICE_BOT_TOKEN"]) {
      expect(gateway).not.toHaveProperty(secret);
    }
    expect(gateway.HOME).toBe("/home/me");
  });

  test("points everybody at each other and at the sandbox", () => {
    const { envOf } = plan({ ACCOUNT_PORT: "9001" });
    expect(envOf("broadcast")).toMatchObject({
      ACCOUNT_URL: "http://127.0.0.1:9001",
      TELEGRAM_API_ROOT: "http://127.0.0.1:7010",
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
      SERVICE_BOT_TOKEN: "",
    });
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
