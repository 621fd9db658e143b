import { describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import fc from "fast-check";
import { databaseUrlVar } from "#services/core/database/variables.ts";
import { ConfigError, readConfig } from "#services/platform/config.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { httpUrlVar, portVar, rpcTokensVar, secretKeysVar } from "#services/platform/variables.ts";
import { temporaryFolder } from "#test/support/folder.ts";

const keyBytes = randomBytes(32);
const key = keyBytes.toString("base64");
const hashOf = (secret: string) => createHash("sha256").update(secret).digest("hex");
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
    DATABASE_URL: databaseUrlVar,
    PUBLIC_URL: httpUrlVar("http://localhost:8080"),
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
      RPC_TOKENS: tokens.map((token) => ({ ...token, hash: hashOf(token.secret) })),
      SECRET_KEYS: [
        { id: "new", key: keyBytes },
        { id: "old", key: keyBytes },
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

describe("a secret in a file", () => {
  const schema = Type.Object({ RPC_TOKENS: rpcTokensVar, GATEWAY_PORT: portVar(8080) });
  const text = JSON.stringify(tokens);
  const folder = temporaryFolder("secret-file");
  const write = (name: string, content: string | Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };

  test.each([
    ["as it is", text],
    ["with a line end", `${text}\n`],
    ["with Windows' line end and mark", `\uFEFF${text}\r\n`],
  ])("is read %s", (name, content) => {
    const config = readConfig(schema, { RPC_TOKENS_FILE: write(name, content) });
    expect(config.RPC_TOKENS.map((token) => token.name)).toEqual(["gateway"]);
  });

  test.each([
    ["is not there", () => join(folder, "nothing"), "is not there"],
    ["is a folder", () => folder, "is no plain file"],
    ["is a device that never ends", () => "/dev/zero", "is no plain file"],
    ["is empty", () => write("empty", "\n"), "is empty"],
    ["is too large", () => write("large", "x".repeat(70_000)), "is larger than 64 KiB"],
    ["is no text", () => write("binary", new Uint8Array([0xff, 0x00, 0xfe])), "is not text"],
  ])("that %s is told with all other problems", (_, path, why) => {
    const problems = problemsOf(() => readConfig(schema, { RPC_TOKENS_FILE: path(), GATEWAY_PORT: "x" }));
    expect(problems).toHaveLength(2);
    expect(problems[0]).toStartWith(`RPC_TOKENS: RPC_TOKENS_FILE names a file that ${why}`);
  });

  test("cannot stand beside the secret itself", () => {
    const env = { RPC_TOKENS: text, RPC_TOKENS_FILE: write("both", text) };
    expect(problemsOf(() => readConfig(schema, env))[0]).toStartWith("RPC_TOKENS: is set, and so is RPC_TOKENS_FILE");
  });

  test("of what is no secret is told, for nothing reads it", () => {
    const problems = problemsOf(() => readConfig(schema, { RPC_TOKENS: text, GATEWAY_PORT_FILE: write("p", "1") }));
    expect(problems).toEqual(["GATEWAY_PORT_FILE: is set, and nothing reads it; GATEWAY_PORT may be meant"]);
  });
});

describe("placeholders", () => {
  const read = (secret: string) =>
    problemsOf(() =>
      readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), {
        RPC_TOKENS: JSON.stringify([{ name: "gateway", secret, allow: ["*"] }]),
      }),
    );
  const hashed = (hash: string) =>
    problemsOf(() =>
      readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), {
        RPC_TOKENS: JSON.stringify([{ name: "gateway", hash, allow: ["*"] }]),
      }),
    );
  const weak = [
    "change-me-platform-1",
    "CHANGE_ME_please_now",
    "changemechangeme1234",
    "<your-secret-here-ok>",
    "your-secret-token-123",
    "aaaaaaaaaaaaaaaaaaaa",
    "abababababababababab",
    "0123456789abcdef",
    "abcdefghijklmnopqrst",
    "9876543210zyxwvutsrq",
    "xxxxxxxxxxxxxxxx1234",
    "passwordpassword",
  ];
  test.each(weak)("%p is refused as a service token's secret", (secret) => {
    const problems = read(secret);
    expect(problems).toHaveLength(1);
    expect(problems[0]).not.toContain(secret);
  });

  test("random secrets never are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), () => {
        for (const encoding of ["hex", "base64", "base64url"] as const) {
          expect(read(randomBytes(32).toString(encoding))).toEqual([]);
        }
        const keys = `k1:${randomBytes(32).toString("base64")}`;
        expect(
          problemsOf(() => readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), { SECRET_KEYS: keys })),
        ).toEqual([]);
      }),
    );
  });

  test("the hash of what a document once showed is refused, and that of a random secret is not", () => {
    expect(hashed(hashOf("change-me-gateway-11"))).toHaveLength(1);
    expect(hashed(hashOf(randomBytes(32).toString("hex")))).toEqual([]);
    expect(hashed(`sha256:${hashOf(randomBytes(32).toString("hex")).toUpperCase()}`)).toEqual([]);
    expect(hashed("abc")).toHaveLength(1);
  });

  test.each([
    ["zeros", Buffer.alloc(32)],
    ["one byte", Buffer.alloc(32, 7)],
    ["a count", Buffer.from(Array.from({ length: 32 }, (_, i) => i))],
    ["a word over and over", Buffer.from("secretkysecretkysecretkysecretky")],
    ["a placeholder", Buffer.from("change-me-change-this-key-please")],
  ])("a first key of %s is refused, and one behind a good one is not", (_, weakKey) => {
    const keys = (text: string) =>
      problemsOf(() => readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), { SECRET_KEYS: text }));
    expect(keys(`old:${weakKey.toString("base64")}`)).toHaveLength(1);
    expect(keys(`new:${key},old:${weakKey.toString("base64")}`)).toEqual([]);
  });
});
