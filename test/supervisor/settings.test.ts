import { describe, expect, test } from "bun:test";
import { ConfigError } from "#services/platform/config.ts";
import { readSettings } from "#services/supervisor/settings.ts";

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readSettings(env, "/repository");
    return [];
  } catch (error) {
    return error instanceof ConfigError ? error.problems : [String(error)];
  }
}

describe("readSettings", () => {
  test("needs nothing: every server is embedded and every port has its default", () => {
    const settings = readSettings({}, "/repository");
    expect(settings.folder).toBe("/repository/.data");
    expect(settings.databaseUrl).toBeUndefined();
    expect(settings.ports).toEqual({
      sandbox: 7010,
      account: 7001,
      campaign: 7002,
      broadcast: 7003,
      delivery: 7004,
      gateway: 8080,
    });
  });

  test("names every problem at once", () => {
    const problems = problemsOf({ GATEWAY_PORT: "http", ACCOUNT_PORT: "7002", DATABASE_URL: "postgres://h/d" });
    expect(problems.map((line) => line.split(":")[0])).toEqual([
      "GATEWAY_PORT",
      "CAMPAIGN_PORT",
      "RPC_TOKENS",
      "SECRET_KEYS",
    ]);
  });

  test("lets several ports be 0, which asks for free ones", () => {
    expect(problemsOf({ GATEWAY_PORT: "0", ACCOUNT_PORT: "0", CAMPAIGN_PORT: "0" })).toEqual([]);
  });

  test("does not reserve the sandbox's port where a real Bot API is used", () => {
    expect(problemsOf({ GATEWAY_PORT: "7010" })).toEqual(["GATEWAY_PORT: 7010 is also SANDBOX_PORT"]);
    expect(problemsOf({ GATEWAY_PORT: "7010", TELEGRAM_API_ROOT: "https://api.telegram.org" })).toEqual([]);
  });
});
