import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSettings } from "#services/local/supervisor/settings.ts";
import { ConfigError } from "#services/platform/config.ts";
import { temporaryFolder } from "#test/support/folder.ts";

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

  test("names what no process could be started with", () => {
    const secret = "a-callers-secret-0001";
    const tokens = JSON.stringify([
      { name: "gateway", secret, allow: ["*"] },
      { name: "campaign", hash: "ab".repeat(32), allow: ["*"] },
    ]);
    const env = {
      GATEWAY_METRICS_PORT: "7001",
      RPC_TOKENS: tokens,
      RPC_TLS_CERT: "/nowhere",
      RPC_TLS_CLIENT_CA: "/nowhere",
    };
    expect(problemsOf(env)).toEqual([
      "GATEWAY_METRICS_PORT: 7001 is also ACCOUNT_PORT",
      'RPC_TOKENS: has no entry "campaign" with its secret, which that process shows when it calls',
      'RPC_TOKENS: has no entry "broadcast" with its secret, which that process shows when it calls',
      "RPC_TLS_CLIENT_CA: the file is not there",
      "RPC_TLS_KEY: is not set, and RPC_TLS_CERT needs it",
      "RPC_TLS_CLIENT_CERT: is not set, and RPC_TLS_CLIENT_CA makes the services ask their callers for one",
    ]);
  });

  test("takes secrets from files, and addresses of both kinds", () => {
    const folder = temporaryFolder("settings");
    writeFileSync(join(folder, "url"), "postgres://u:p@h/d\n");
    const tokens = ["gateway", "campaign", "broadcast"].map((name) => ({
      name,
      secret: `${name}-secret-0001`,
      allow: [],
    }));
    const env = {
      DATABASE_URL_FILE: join(folder, "url"),
      RPC_TOKENS: JSON.stringify(tokens),
      SECRET_KEYS: `k1:${randomBytes(32).toString("base64")}`,
      GATEWAY_HOST: "[::]",
      TELEGRAM_API_ROOT: "https://api.telegram.org/",
    };
    const settings = readSettings(env, "/repository");
    expect(settings.databaseUrl).toBe("postgres://u:p@h/d");
    expect(settings.hosts.gateway).toBe("::");
    expect(settings.telegramApiRoot).toBe("https://api.telegram.org");
  });

  test("lets several ports be 0, which asks for free ones", () => {
    expect(problemsOf({ GATEWAY_PORT: "0", ACCOUNT_PORT: "0", CAMPAIGN_PORT: "0" })).toEqual([]);
  });

  test("does not reserve the sandbox's port where a real Bot API is used", () => {
    expect(problemsOf({ GATEWAY_PORT: "7010" })).toEqual(["GATEWAY_PORT: 7010 is also SANDBOX_PORT"]);
    expect(problemsOf({ GATEWAY_PORT: "7010", TELEGRAM_API_ROOT: "https://api.telegram.org" })).toEqual([]);
  });
});
