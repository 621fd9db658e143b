import { describe, expect, test } from "bun:test";
import { distance, knownNames, misspelt } from "#services/platform/config-names.ts";

const read = ["DATABASE_URL", "RPC_TLS_CERT", "RPC_TLS_KEY", "NATS_CERT", "ACCOUNT_METRICS_PORT", "SECRET_KEYS"];

describe("misspelt", () => {
  test.each([
    ["DATABASE_URI", "DATABASE_URL"],
    ["POSTGRES_URL", "DATABASE_URL"],
    ["DATABASE_URLS", "DATABASE_URL"],
    ["RPC_TLS_CERTS", "RPC_TLS_CERT"],
    ["RPC_TSL_KEY", "RPC_TLS_KEY"],
    ["RPC_TLS_KEY_FILE", "RPC_TLS_KEY"],
    ["METRICS_PORT", "ACCOUNT_METRICS_PORT"],
    ["SECRET_KEY", "SECRET_KEYS"],
    ["SECRET_KEY_FILE", "SECRET_KEYS"],
  ])("tells that %s is not read, and that %s may be meant", (given, meant) => {
    const told = misspelt(read, { [given]: "x" });
    expect(told).toEqual([`${given}: is set, and nothing reads it; ${meant} may be meant`]);
  });

  test("is silent about what was meant and set, about neighbours' variables, and about Kubernetes", () => {
    expect(misspelt(read, { DATABASE_URI: "x", DATABASE_URL: "y" })).toEqual([]);
    expect(misspelt(read, { NATS_URL: "x", NATS_CREDS: "x", ACCOUNT_URL: "x" })).toEqual([]);
    const links = [
      "NATS_PORT",
      "NATS_SERVICE_HOST",
      "ACCOUNT_SERVICE_PORT",
      "ACCOUNT_PORT_7001_TCP_ADDR",
      "PATH",
      "HOME",
    ];
    expect(misspelt([...knownNames], Object.fromEntries(links.map((name) => [name, "x"])))).toEqual([]);
  });
});

describe("distance", () => {
  test.each([
    ["KEY", "KEY", 0],
    ["KEY", "KEYS", 1],
    ["TSL", "TLS", 2],
    ["CERT", "KEY", 3],
  ])("of %s and %s is %p", (a, b, edits) => expect(distance(a, b)).toBe(edits));
});
