import { describe, expect, test } from "bun:test";
import { HttpError } from "grammy";
import { errorNames } from "#services/local/sandbox/refusal.ts";
import { eventually } from "#test/support/eventually.ts";
import { failureOf, rawSend, startSandbox } from "./support.ts";

describe("scripted errors", () => {
  test.each([
    ["blocked", 403, "Forbidden: bot was blocked by the user"],
    ["deactivated", 403, "Forbidden: user is deactivated"],
    ["cant_initiate", 403, "Forbidden: bot can't initiate conversation with a user"],
    ["cant_send", 403, "Forbidden: bot can't send messages to the user"],
    ["chat_not_found", 400, "Bad Request: chat not found"],
    ["too_long", 400, "Bad Request: message is too long"],
    ["bad_button", 400, "Bad Request: BUTTON_URL_INVALID"],
    ["bad_media", 400, "Bad Request: wrong file identifier/HTTP URL specified"],
    ["unauthorized", 401, "Unauthorized"],
    ["not_found", 404, "Not Found"],
    ["retry_after", 429, "Too Many Requests: retry after 1"],
    ["server_error", 500, "Internal Server Error: restart"],
  ] as const)("answer %s with %d", async (error, error_code, description) => {
    await using world = await startSandbox();
    await world.control.script({ chat: 1, answer: { error }, times: 1 });
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toMatchObject({ error_code, description });
    await world.api().sendMessage(1, "and then it works");
    expect(await world.control.totals()).toMatchObject({ accepted: 1, refusedByKind: { [error]: 1 } });
  });

  test("exist under each name, and have the status that they say", async () => {
    await using world = await startSandbox();
    for (const error of errorNames) {
      await world.control.script({ answer: { error }, times: 1 });
      const reply = await world.call("sendMessage?chat_id=1&text=hi");
      expect(await reply.json()).toMatchObject({ ok: false, error_code: reply.status });
    }
  });

  test.each([500, 502, 503, 504])("answer %d, before or after the message was accepted", async (status) => {
    await using world = await startSandbox();
    await world.control.script({ answer: { error: "server_error", status }, times: 1 });
    await world.control.script({ answer: { error: "server_error", status, accepted: true }, times: 1 });
    for (const accepted of [0, 1]) {
      const reply = await world.call("sendMessage?chat_id=1&text=hi");
      expect(reply.status).toBe(status);
      expect(reply.headers.get("content-type")).toContain(status === 502 ? "text/html" : "application/json");
      expect((await world.control.totals()).accepted).toBe(accepted);
    }
    expect((await world.control.bot(1)).refused).toEqual({ server_error: 1, server_error_accepted: 1 });
  });

  test("let a call that is wrong in itself be told so, even where acceptance was scripted", async () => {
    await using world = await startSandbox();
    await world.control.script({ answer: { cut: true, accepted: true } });
    const description = "Bad Request: message text is empty";
    expect(await failureOf(world.api().sendMessage(1, ""))).toMatchObject({ description });
  });
});

describe("a cut", () => {
  test.each([
    [false, 0],
    [true, 1],
  ])("with accepted: %p ends the connection without a byte", async (accepted, recorded) => {
    await using world = await startSandbox();
    await world.control.script({ answer: { cut: true, accepted }, times: 2 });
    const { bytes, end } = await rawSend(world.sandbox, 1);
    expect(bytes).toBe("");
    expect(["ECONNRESET", "eof"]).toContain(end);
    expect((await world.control.totals()).accepted).toBe(recorded);
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toBeInstanceOf(HttpError);
    expect((await world.control.bot(1)).refused).toEqual({ [accepted ? "cut_accepted" : "cut"]: 2 });
  });

  test("leaves later calls alone", async () => {
    await using world = await startSandbox();
    await world.api().sendMessage(1, "on a connection that is kept");
    await world.control.script({ answer: { cut: true }, times: 1 });
    await failureOf(world.api().sendMessage(1, "cut"));
    await world.api().sendMessage(1, "well again");
    expect((await world.control.messages()).map(({ text }) => text)).toEqual([
      "on a connection that is kept",
      "well again",
    ]);
  });
});

describe("a hang", () => {
  test.each([
    [false, 0],
    [true, 1],
  ])("with accepted: %p never answers", async (accepted, recorded) => {
    await using world = await startSandbox();
    await world.control.script({ answer: { hang: true, accepted }, times: 2 });
    const giveUp = new AbortController();
    const raw = rawSend(world.sandbox, 1, giveUp.signal);
    await eventually(async () => (await world.control.refusals()).length === 1);
    expect((await world.control.totals()).accepted).toBe(recorded);
    expect(await failureOf(world.api(1, 0.2).sendMessage(1, "hi"))).toBeInstanceOf(HttpError);
    giveUp.abort();
    expect((await raw).bytes).toBe("");
  });
});

describe("latency", () => {
  test("delays the answer", async () => {
    await using world = await startSandbox();
    await world.control.script({ answer: { latencyMs: [200, 220] }, times: 1 });
    const startedMs = performance.now();
    await world.api().sendMessage(1, "hi");
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(199);
  });

  test("does not delay the acceptance, so a caller that gives up leaves a message behind", async () => {
    await using world = await startSandbox();
    await world.control.script({ answer: { latencyMs: 60_000 } });
    expect(await failureOf(world.api(1, 0.1).sendMessage(1, "hi"))).toBeInstanceOf(HttpError);
    expect((await world.control.totals()).accepted).toBe(1);
  });
});

describe("listen", () => {
  test("refuses connections while it is off, and goes on at the same port", async () => {
    await using world = await startSandbox();
    await world.api().sendMessage(1, "before");
    const { url } = world.sandbox;
    await world.control.listen(false);
    expect(await rawSend(world.sandbox, 1)).toEqual({ bytes: "", end: "ECONNREFUSED" });
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toBeInstanceOf(HttpError);
    await world.control.listen(true);
    await world.control.listen(true);
    expect(world.sandbox.url).toBe(url);
    await world.api().sendMessage(1, "after");
    expect((await world.control.totals()).accepted).toBe(2);
  });
});
