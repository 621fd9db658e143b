import { describe, expect, test } from "bun:test";
import { DrizzleQueryError } from "drizzle-orm";
import fc from "fast-check";
import { redactSecrets } from "#services/platform/log.ts";
import { captureLog } from "./captured-log.ts";

const token = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
const tail = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

describe("redactSecrets", () => {
  test("hides a token wherever it stands in a text", () => {
    const letters = [..."0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"];
    const secret = fc.string({ unit: fc.constantFrom(...letters), minLength: 30, maxLength: 45 });
    const id = fc.integer({ min: 10_000, max: 9_999_999_999 });
    fc.assert(
      fc.property(fc.string(), id, secret, fc.string(), (before, botId, part, after) => {
        expect(redactSecrets(`${before}${botId}:${part}${after}`)).not.toContain(part);
      }),
    );
  });

  test("hides Bot API URLs, encoded tokens and bearer credentials, and leaves the rest", () => {
    expect(redactSecrets(`https://api.telegram.org/bot${token}/getMe`)).toBe(
      "https://api.telegram.org/bot[redacted]/getMe",
    );
    expect(redactSecrets(token.replace(":", "%3A"))).toBe("[redacted]");
    expect(redactSecrets("authorization: Bearer abc.def")).toBe("authorization: Bearer [redacted]");
    expect(redactSecrets("at 12:30 on 127.0.0.1:8080")).toBe("at 12:30 on 127.0.0.1:8080");
  });
});

describe("createLogger", () => {
  test("writes JSON with an ISO time, the level's name and the service", () => {
    const { log, records } = captureLog();
    log.info({ port: 1, account: 5n }, "hello");
    expect(records()).toEqual([
      {
        level: "info",
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        service: "test",
        port: 1,
        account: "5",
        msg: "hello",
      },
    ]);
  });

  test("lets no token through: message, fields, keys, nested values, children and errors", () => {
    const { log, text, records } = captureLog();
    log.info(`calling ${token}`);
    log.info({ url: `/bot${token}/x`, deep: { list: [{ [token]: token }] } }, "nested %s", token);
    log.child({ token }).info("child");
    log.error(new Error(`failed for ${token}`, { cause: new Error(token) }));
    log.error({ err: new Error(token), other: { error: new Error(token) } }, "both");
    expect(records()).toHaveLength(5);
    expect(text()).not.toContain(tail);
    expect(text()).toContain("[redacted]");
  });

  test("keeps name, message, stack and code of an error, and not where a request went", async () => {
    const { log, records, text } = captureLog();
    const error = await fetch("http://127.0.0.1:1/bot-path-of-a-request").catch((failure: unknown) => failure as Error);
    expect(Bun.inspect(error)).toContain("bot-path-of-a-request");
    log.error({ err: error }, "not reached");
    const err = records()[0]?.err as Record<string, unknown>;
    expect(Object.keys(err).sort()).toEqual(["code", "message", "name", "stack"]);
    expect(text()).not.toContain("bot-path-of-a-request");
  });

  test("reduces a failed query to SQLSTATE, constraint and frames", () => {
    const { log, records, text } = captureLog();
    const cause = Object.assign(new Error("Key (username)=(john_doe) exists"), {
      code: "23505",
      constraint_name: "lead_pk",
    });
    const error = new DrizzleQueryError("insert into lead values ($1)", ["john_doe"], cause);
    log.error(error);
    log.error({ err: new Error("could not save the lead", { cause: error }) }, "failed");
    const expected = { code: "23505", constraint: "lead_pk", message: "a database query failed" };
    expect(records()[0]?.err).toMatchObject(expected);
    expect(records()[0]?.msg).toBe("a database query failed");
    expect(records()[1]?.err).toMatchObject({ message: "could not save the lead", cause: expected });
    expect(text()).not.toContain("john_doe");
    expect(text()).not.toContain("insert into");
  });

  test("survives cycles and bytes", () => {
    const { log, records } = captureLog();
    const cycle: Record<string, unknown> = { body: new Uint8Array(3) };
    cycle.self = cycle;
    log.info({ cycle }, "round");
    expect(records()[0]).toMatchObject({ msg: "round", cycle: { body: "[3 bytes]" } });
  });
});
