import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import fc from "fast-check";
import { ConfigError, portVar, readConfig, rpcTokensVar, secretKeysVar, urlVar } from "#services/platform/config.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";

const key = Buffer.alloc(32, 7).toString("base64");
const tokens = [{ name: "gateway", secret: "sixteen-chars-ok", allow: ["a.v1.AService/*", "a.v1.BService/Do", "*"] }];

function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe("readConfig", () => {
  const schema = Type.Object({
    GATEWAY_PORT: portVar(8080),
    DATABASE_URL: urlVar(undefined, ["postgres", "postgresql"]),
    PUBLIC_URL: urlVar("http://localhost:8080"),
    RPC_TOKENS: rpcTokensVar,
    SECRET_KEYS: secretKeysVar,
    NATS_REPLICAS: Type.Integer({ minimum: 1, maximum: 5, default: 1 }),
    VERBOSE: Type.Boolean({ default: false }),
    MODE: Type.Optional(Type.Union([Type.Literal("a"), Type.Literal("b")])),
  });
  const good = {
    DATABASE_URL: "postgres://u:p@localhost/db",
    RPC_TOKENS: JSON.stringify(tokens),
    SECRET_KEYS: `new:${key},old:${key}`,
  };

  test("converts values, fills in defaults and freezes the result", () => {
    const config = readConfig(schema, {
      ...good,
      GATEWAY_PORT: "0",
      VERBOSE: "yes",
      NATS_REPLICAS: "3",
      PUBLIC_URL: "",
    });
    expect(config).toEqual({
      GATEWAY_PORT: 0,
      DATABASE_URL: "postgres://u:p@localhost/db",
      PUBLIC_URL: "http://localhost:8080",
      RPC_TOKENS: tokens,
      SECRET_KEYS: [
        { id: "new", key: Buffer.alloc(32, 7) },
        { id: "old", key: Buffer.alloc(32, 7) },
      ],
      NATS_REPLICAS: 3,
      VERBOSE: true,
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  test("reports every bad and missing variable together, each with what is expected", () => {
    const env = {
      GATEWAY_PORT: "eighty",
      DATABASE_URL: "mysql://root:hunter2@db/x",
      RPC_TOKENS: '[{"name":"gateway","secret":"hunter2"}]',
      SECRET_KEYS: "",
      NATS_REPLICAS: "9",
      VERBOSE: "maybe",
      MODE: "c",
    };
    const problems = problemsOf(() => readConfig(schema, env));
    expect(problems.map((line) => line.split(":")[0])).toEqual(Object.keys(env));
    expect(problems[0]).toBe('GATEWAY_PORT: "eighty" is not an integer; expected a port number from 0 to 65535');
    expect(problems[3]).toContain("SECRET_KEYS: is not set; expected id:base64key");
    expect(problems[6]).toContain("expected one of a, b");
    expect(problems.join("\n")).not.toContain("hunter2");
  });

  test("never shows any part of a value that may be secret", () => {
    const names = ["DATABASE_URL", "RPC_TOKENS", "SECRET_KEYS", "PUBLIC_URL"] as const;
    const secret = fc.stringMatching(/^Zq[!-~]{12,40}$/);
    fc.assert(
      fc.property(fc.constantFrom(...names), secret, (name, value) => {
        const problems = problemsOf(() => readConfig(schema, { ...good, [name]: value }));
        expect(problems.join("\n")).not.toContain(value);
      }),
    );
  });

  test.each(["65536", "-1", "80.5", "0x50", "1e3", " 80"])("refuses the port %p", (port) => {
    expect(problemsOf(() => readConfig(Type.Object({ PORT: portVar(1) }), { PORT: port }))).toHaveLength(1);
  });
});

describe("rpcTokensVar", () => {
  const wrong: [string, unknown][] = [
    ["no list", {}],
    ["an empty list", []],
    ["a short secret", [{ ...tokens[0], secret: "short" }]],
    ["a pattern without a service", [{ ...tokens[0], allow: ["ListBlocks"] }]],
    ["a bad name", [{ ...tokens[0], name: "Gate Way" }]],
    ["one name twice", [tokens[0], { ...tokens[0], secret: "another-secret-ok" }]],
    ["one secret twice", [tokens[0], { ...tokens[0], name: "other" }]],
  ];
  test.each(wrong)("refuses %s", (_, value) => {
    const env = { RPC_TOKENS: JSON.stringify(value) };
    expect(problemsOf(() => readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), env))).toHaveLength(1);
  });
});

describe("secretKeysVar", () => {
  const wrong = [`${key}`, "k:", "k:AAAA", `k:${key},k:${key}`, `k:${key},`, `k y:${key}`];
  test.each(wrong)("refuses %p", (value) => {
    const env = { SECRET_KEYS: value };
    expect(problemsOf(() => readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), env))).toHaveLength(1);
  });
});

describe("connectionLimitsVar", () => {
  const read = (text?: string) =>
    readConfig(Type.Object({ CONNECTION_LIMITS: connectionLimitsVar }), { CONNECTION_LIMITS: text }).CONNECTION_LIMITS;

  test("takes those limits that are given", () => {
    expect(read()).toEqual({});
    expect(read('{"connectionsPerAddress": 10, "idleTimeoutMs": 60000}')).toEqual({
      connectionsPerAddress: 10,
      idleTimeoutMs: 60_000,
    });
  });

  test.each(["[]", "1", "null", "{", '{"conections": 1}', '{"connections": 0}', '{"connections": "1"}'])(
    "refuses %j, and says what there is",
    (text) => {
      expect(() => read(text)).toThrow(/^CONNECTION_LIMITS: .*connectionsPerAddress, connections, /);
    },
  );
});
