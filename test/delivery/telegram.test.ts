import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { OutgoingMessage } from "#services/delivery/message.ts";
import { outcomeOf } from "#services/delivery/outcome.ts";
import { createBotApi } from "#services/delivery/telegram.ts";
import { errorNames, serverErrorStatuses } from "#services/local/sandbox/refusal.ts";
import { startSandbox, tokenOf } from "#test/local/sandbox/support.ts";
import { eventually } from "../support/eventually.ts";
import { http, isWhole, startRawServer } from "./raw-server.ts";

const token = tokenOf(1);

const fault = { answer: "fault", message: expect.any(String) } as const;

function messageTo(chatId: number, text = "Hello"): OutgoingMessage {
  return { chatId, text, entities: [], keyboard: undefined, media: "", mediaType: 0 };
}

async function setup() {
  const sandbox = await startSandbox();
  const api = createBotApi({ apiRoot: sandbox.sandbox.url, timeoutMs: 400 });
  return { ...sandbox, send: (chatId = 1) => api.send(token, messageTo(chatId)), botApi: api };
}

/** A server that answers each request with these bytes. */
async function setupRaw(answer: string) {
  const server = await startRawServer({
    onData: (connection) => {
      if (isWhole(connection)) connection.socket.end(answer);
    },
  });
  const api = createBotApi({ apiRoot: server.url, timeoutMs: 2_000 });
  return { ...server, apiRoot: server.url, api, send: () => api.send(token, messageTo(1)) };
}

/** A file of so many bytes in pieces of at most 100,000; reading fails at the piece that begins at `failsAt`. */
function fileOf(size: number, { failsAt = Number.POSITIVE_INFINITY, told = size } = {}) {
  async function* open() {
    if (failsAt === 0) throw new Error("The database is away.");
    for (let at = 0; at < size; at += 100_000) {
      if (at >= failsAt) throw new Error("The database is away.");
      yield Buffer.alloc(Math.min(100_000, size - at), "x");
    }
  }
  return { fileName: "photo.jpg", mimeType: "image/jpeg", size: told, open };
}

describe("createBotApi", () => {
  test("keeps the bot's token out of a description that quotes the URL", async () => {
    const secret = token.slice(token.indexOf(":") + 1);
    const description = `Bad Gateway: no answer to POST /bot${token}/sendMessage (${encodeURIComponent(token)})`;
    await using raw = await setupRaw(
      http("502 Bad Gateway", JSON.stringify({ ok: false, error_code: 502, description })),
    );
    const reply = await raw.send();
    expect(reply).toMatchObject({ answer: "error", code: 502, description: expect.stringContaining("Bad Gateway") });
    expect(JSON.stringify(reply)).not.toContain(secret);
  });

  test("sends the text, its entities and its keyboard as they are", async () => {
    await using world = await setup();
    const entities = [{ type: "bold" as const, offset: 0, length: 5 }];
    const keyboard = { inline_keyboard: [[{ text: "Go", url: "https://example.com" }]] };
    const reply = await world.botApi.send(token, { ...messageTo(7), entities, keyboard });
    const [message] = await world.control.messages();
    expect(reply).toMatchObject({ answer: "ok", messageId: message!.message_id });
    expect(message).toMatchObject({ chat: 7, text: "Hello", entities });
    expect(JSON.stringify(message)).toContain("https://example.com");
  });

  test("knows a bot that is well", async () => {
    await using world = await setup();
    expect((await world.botApi.getMe(token)).answer).toBe("ok");
    await world.control.revokeToken(token);
    expect(await world.botApi.getMe(token)).toMatchObject({ answer: "error", code: 401 });
  });

  test.each(errorNames.filter((name) => name !== "server_error"))("passes on %s as an error", async (error) => {
    await using world = await setup();
    await world.control.script({ answer: { error, retryAfterSeconds: 9 }, times: 1 });
    const reply = await world.send();
    const [refusal] = await world.control.refusals();
    expect(reply).toMatchObject({ answer: "error", code: refusal!.status, description: refusal!.description });
    expect(outcomeOf(reply).outcome).not.toBe("unknown");
    if (error === "retry_after") expect(reply).toMatchObject({ retryAfterSeconds: 9 });
    expect((await world.control.bot(1)).calls).toBe(1);
  });

  test.each(
    serverErrorStatuses.flatMap((status) => [
      [status, false],
      [status, true],
    ]) as [number, boolean][],
  )("takes a %d for unknown, accepted: %p", async (status, accepted) => {
    await using world = await setup();
    await world.control.script({ answer: { error: "server_error", status, accepted }, times: 1 });
    const reply = await world.send();
    // What stands in front of the Bot API answers 502 with a page of its own.
    const how = status === 502 ? { answer: "foreign", status } : { answer: "error", status, code: status };
    expect(reply).toMatchObject(how);
    expect(outcomeOf(reply).outcome).toBe("unknown");
    expect(await world.control.totals()).toMatchObject({ accepted: accepted ? 1 : 0 });
    expect((await world.control.bot(1)).calls).toBe(1);
  });

  test.each([false, true])("takes a cut for unknown and does not call again, accepted: %p", async (accepted) => {
    await using world = await setup();
    // On a new connection, and on one that was kept alive: there a client may think that it was closed before.
    await world.control.script({ chat: [1, 3], answer: { cut: true, accepted } });
    expect(await world.send(1)).toEqual({ answer: "lost", how: "cut" });
    expect(await world.send(2)).toMatchObject({ answer: "ok" });
    expect(await world.send(3)).toEqual({ answer: "lost", how: "cut" });
    expect(await world.control.bot(1)).toMatchObject({ calls: 3, accepted: accepted ? 3 : 1 });
  });

  test.each([false, true])("gives up on a hang at its timeout, accepted: %p", async (accepted) => {
    await using world = await setup();
    await world.control.script({ answer: { hang: true, accepted }, times: 1 });
    const startedAt = performance.now();
    expect(await world.send()).toEqual({ answer: "lost", how: "timeout" });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(await world.control.bot(1)).toMatchObject({ calls: 1, accepted: accepted ? 1 : 0 });
  });

  test("takes a connection that nobody accepts for refused, also where one was kept alive", async () => {
    await using world = await setup();
    expect(await world.send()).toMatchObject({ answer: "ok" });
    await world.control.listen(false);
    await eventually(async () => !(await isOpen(world.sandbox.port)));
    expect(await world.send()).toEqual({ answer: "refused" });
    expect(await world.botApi.getMe(token)).toEqual({ answer: "refused" });
    await world.control.listen(true);
    expect(await world.send()).toMatchObject({ answer: "ok" });
    expect((await world.control.totals()).accepted).toBe(2);
  });

  test("takes a host that does not exist for refused", async () => {
    const api = createBotApi({ apiRoot: "http://telegram.invalid", timeoutMs: 5_000 });
    expect(await api.send(token, messageTo(1))).toEqual({ answer: "refused" });
  });

  test("follows no redirect: the message could arrive twice, and the token at somebody else's", async () => {
    await using other = await setupRaw(http("200 OK", JSON.stringify({ ok: true, result: { message_id: 1 } })));
    await using world = await setupRaw(http("307 Temporary Redirect", "", `Location: ${other.apiRoot}/\r\n`));
    expect(outcomeOf(await world.send()).outcome).toBe("unknown");
    expect([world.requests(), other.requests()]).toEqual([1, 0]);
  });

  test.each([
    ["no JSON", http("200 OK", "<html>")],
    ["half of its JSON", http("200 OK", '{"ok":tr')],
    ["JSON of something else", http("200 OK", '{"hello":1}')],
    ["a list", http("200 OK", "[]")],
    ["null", http("200 OK", "null")],
    ["an acceptance without a message", http("200 OK", '{"ok":true}')],
    ["less than it promised", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"],
    ["no HTTP", "SSH-2.0-nonsense\r\n\r\n"],
    ["nothing", ""],
  ])("takes an answer that is %s for unknown", async (_, answer) => {
    await using world = await setupRaw(answer);
    expect(outcomeOf(await world.send()).outcome).toBe("unknown");
    expect(world.requests()).toBe(1);
  });

  test.each([
    ["no message_id", '{"ok":true,"result":{}}'],
    ["a message_id that is no number of ours", '{"ok":true,"result":{"message_id":1.5}}'],
  ])("believes an acceptance with %s", async (_, body) => {
    await using world = await setupRaw(http("200 OK", body));
    expect(await world.send()).toMatchObject({ answer: "ok", messageId: 0 });
  });

  test("lets no token out, whatever goes wrong", async () => {
    await using world = await setup();
    const replies: unknown[] = [];
    for (const answer of [
      { cut: true },
      { hang: true },
      { error: "unauthorized" },
      { error: "server_error", status: 502 },
    ]) {
      await world.control.script({ answer: answer as never, times: 1 });
      replies.push(await world.send());
    }
    await world.control.listen(false);
    replies.push(await world.send(), await world.botApi.getMe(token));
    await using raw = await setupRaw("nonsense");
    replies.push(await raw.send());
    replies.push(await createBotApi({ apiRoot: "http://telegram.invalid" }).send(token, messageTo(1)));
    const faulty = { ...messageTo(1), chatId: 1n } as never;
    replies.push(await world.botApi.send(`${token}\ud800`, messageTo(1)), await world.botApi.send(token, faulty));
    expect(replies.slice(-2)).toEqual([fault, fault]);
    expect(replies).toHaveLength(10);
    expect(Bun.inspect(replies, { depth: 20 }) + JSON.stringify(replies)).not.toContain("ttttt");
  });
});

describe("an upload", () => {
  const photo = (chatId = 1): OutgoingMessage => ({ ...messageTo(chatId, "Look"), media: "ref", mediaType: 1 });

  test("arrives as one file with its fields, whatever stands in them", async () => {
    await using world = await setup();
    const text = '--leadcast"\r\n\r\nж';
    const entities = [{ type: "bold" as const, offset: 0, length: 3 }];
    const message = { ...photo(7), text, entities, mediaType: 2 as const };
    const reply = await world.botApi.send(token, message, { ...fileOf(250_000), fileName: 'a"\r\nb.mp4' });
    const [sent] = await world.control.messages();
    expect(sent).toMatchObject({ chat: 7, method: "sendVideo", text, entities, uploaded: true });
    const { fileId } = reply as { fileId: string };
    expect(await world.botApi.send(token, message, { fileId })).toMatchObject({ answer: "ok", fileId });
    expect((await world.control.bot(1)).uploads).toBe(1);
  });

  test.each([
    ["cannot be read at all", fileOf(300_000, { failsAt: 0 })],
    ["is empty though it should not be", fileOf(0, { told: 5 })],
    ["is longer than told in its first piece", fileOf(100_000, { told: 99_999 })],
  ])("of a file that %s is a fault of ours, and nothing is written", async (_, file) => {
    await using raw = await setupRaw(http("200 OK", '{"ok":true}'));
    expect(await raw.api.send(token, photo(), file)).toEqual(fault);
    expect(raw.connections).toHaveLength(0);
  });

  test.each([
    ["cannot be read further", fileOf(300_000, { failsAt: 100_000 })],
    ["is shorter than told", fileOf(150_000, { told: 150_001 })],
    ["is longer than told", fileOf(250_000, { told: 150_000 })],
  ])("of a file that %s is in doubt, and never whole", async (_, file) => {
    await using raw = await setupRaw(http("200 OK", '{"ok":true}'));
    expect(await raw.api.send(token, photo(), file)).toEqual({ answer: "lost", how: "cut" });
    expect(isWhole(raw.connections[0]!)).toBe(false);
  });

  test("goes below the root's path, with or without a slash at its end", async () => {
    for (const root of ["", "/", "/prefix", "/prefix/"]) {
      await using raw = await setupRaw(http("200 OK", '{"ok":true,"result":{"message_id":5}}'));
      const api = createBotApi({ apiRoot: raw.url + root });
      expect(await api.send(token, photo(), fileOf(10))).toMatchObject({ answer: "ok", messageId: 5 });
      const path = `${root.replace(/\/$/, "")}/bot${token}/sendPhoto`;
      expect(raw.connections[0]!.received).toStartWith(`POST ${path} HTTP/1.1\r\n`);
    }
  });
});

describe("what comes of an HTTP answer", () => {
  const slow = '{"ok":false,"error_code":429,"description":"Slow","parameters":{"retry_after":3}}';
  test.each([
    ["a page with a status", http("413 Payload Too Large", "<html>"), { answer: "foreign", status: 413 }],
    [
      "a page that says when to come again",
      http("429 Too Many Requests", "<html>", "retry-after: 7\r\n"),
      { answer: "foreign", status: 429, retryAfterSeconds: 7 },
    ],
    ["a redirect", http("302 Found", "", "location: /\r\n"), { answer: "foreign", status: 302 }],
    ["an acceptance with a status that denies it", http("500 Oops", '{"ok":true}'), { answer: "lost" }],
    [
      "Telegram's own refusal",
      http("429 Too Many Requests", slow, "Retry-After: 5\r\n"),
      {
        answer: "error",
        status: 429,
        code: 429,
        description: "Slow",
        retryAfterSeconds: 3,
      },
    ],
    [
      "parameters that are none",
      http("400 Bad Request", '{"ok":false,"error_code":400,"description":"?","parameters":null}'),
      { answer: "error", status: 400, code: 400 },
    ],
    ["a result that is none", http("200 OK", '{"ok":true,"result":"x"}'), { answer: "lost", how: "unreadable" }],
    ["a photo that is none", http("200 OK", '{"ok":true,"result":{"photo":[null]}}'), { answer: "ok", messageId: 0 }],
  ])("%s", async (_, answer, expected) => {
    await using raw = await setupRaw(answer);
    expect(await raw.send()).toMatchObject(expected);
    expect(raw.requests()).toBe(1);
  });

  test("a date says when to come again, too", async () => {
    const at = new Date(Date.now() + 60_000).toUTCString();
    await using raw = await setupRaw(http("429 Busy", "", `retry-after: ${at}\r\n`));
    const reply = await raw.send();
    expect(reply.answer).toBe("foreign");
    const { retryAfterSeconds: seconds } = reply as { retryAfterSeconds: number };
    expect(seconds > 0 && seconds <= 60).toBe(true);
  });
});

function isOpen(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1", () => resolve(true));
  socket.on("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}
