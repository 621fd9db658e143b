import { describe, expect, test } from "bun:test";
import { GrammyError, InputFile } from "grammy";
import { pngHeader } from "./pictures.ts";
import { failureOf, startSandbox, tokenOf } from "./support.ts";

const keyboard = { inline_keyboard: [[{ text: "Open", url: "https://example.com" }]] };

describe("the Bot API's sends", () => {
  test("answer with a Message, and are recorded", async () => {
    await using world = await startSandbox();
    const sent = await world.api(7).sendMessage(10, "*Hi* there", { parse_mode: "Markdown", reply_markup: keyboard });
    expect(sent).toMatchObject({ message_id: 1, chat: { id: 10, type: "private" }, from: { id: 7, is_bot: true } });
    const said = { text: "Hi there", entities: [{ type: "bold", offset: 0, length: 2 }], reply_markup: keyboard };
    expect(sent).toMatchObject(said as object);
    expect((await world.api(7).sendMessage(10, "again")).message_id).toBe(2);
    expect((await world.api(7).sendMessage(11, "first")).message_id).toBe(1);
    const [recorded] = await world.control.messages({ chat: 10 });
    expect(recorded).toMatchObject({ bot: 7, chat: 10, method: "sendMessage", message_id: 1, ...said });
  });

  test("take JSON, forms, multipart, queries and any case of the method", async () => {
    await using world = await startSandbox();
    const json = { method: "POST", headers: { "content-type": "application/json" } };
    const form = new FormData();
    form.set("chat_id", "3");
    form.set("text", "multipart");
    form.set("reply_markup", JSON.stringify(keyboard));
    const replies = [
      await world.call("sendMessage", { ...json, body: JSON.stringify({ chat_id: 1, text: "json" }) }),
      await world.call("SENDMESSAGE", { method: "POST", body: new URLSearchParams({ chat_id: "2", text: "form" }) }),
      await world.call("sendmessage", { method: "POST", body: form }),
      await world.call("sendMessage?chat_id=4&text=query"),
    ];
    expect(replies.map((reply) => reply.status)).toEqual([200, 200, 200, 200]);
    const texts = (await world.control.messages()).map(({ chat, text }) => [chat, text]);
    expect(texts).toEqual([
      ...[
        [1, "json"],
        [2, "form"],
      ],
      ...[
        [3, "multipart"],
        [4, "query"],
      ],
    ]);
    expect((await world.call("sendMessage", { ...json, body: "{" })).status).toBe(400);
  });

  test("show the first hundred entities, and refuse more addresses than Telegram takes", async () => {
    await using world = await startSandbox();
    const links = (count: number, length: number) =>
      Array.from({ length: count }, (_, offset) => ({
        ...{ type: "text_link" as const, offset, length: 1, url: `https://a.bc/${"x".repeat(length - 13)}` },
      }));
    const sent = await world.api().sendMessage(1, "x".repeat(120), { entities: links(120, 20) });
    expect(sent.entities).toHaveLength(100);
    expect((await world.control.messages())[0]?.entities).toHaveLength(100);
    await world.api().sendMessage(1, "x".repeat(9), { entities: links(9, 1_000) });
    const tooMuch = await failureOf(world.api().sendMessage(1, "x".repeat(12), { entities: links(12, 1_000) }));
    expect(tooMuch).toMatchObject({ error_code: 400, description: "Bad Request: ENTITIES_TOO_LONG" });
    const markdown = `[x](https://a.bc/${"x".repeat(988)})`.repeat(12);
    const parsed = await failureOf(world.api().sendMessage(1, markdown, { parse_mode: "Markdown" }));
    expect(parsed).toMatchObject({ description: "Bad Request: ENTITIES_TOO_LONG" });
  });

  test.each([
    ["", "Bad Request: message text is empty"],
    [" \n", "Bad Request: message text is empty"],
    ["👋".repeat(2_049), "Bad Request: message is too long"],
    ["\ud83d", "Bad Request: strings must be encoded in UTF-8"],
  ])("refuse the text %p", async (text, description) => {
    await using world = await startSandbox();
    const failure = await failureOf(world.api().sendMessage(1, text));
    expect(failure).toMatchObject({ error_code: 400, description });
    expect((await world.control.totals()).accepted).toBe(0);
  });

  test("count what is left after parsing, and name the byte of what cannot be parsed", async () => {
    await using world = await startSandbox();
    await world.api().sendMessage(1, `*${"x".repeat(4_096)}*`, { parse_mode: "Markdown" });
    const description = "Bad Request: can't parse entities: Can't find end of the entity starting at byte offset 8";
    const failure = await failureOf(world.api().sendMessage(1, "👋 joh_doe", { parse_mode: "Markdown" }));
    expect(failure).toMatchObject({ error_code: 400, description });
  });

  test("check entities, buttons and chats, each as long as it is switched on", async () => {
    await using world = await startSandbox();
    const entities = [{ type: "bold" as const, offset: 0, length: 9 }];
    const local = { inline_keyboard: [[{ text: "x", url: "http://localhost" }]] };
    const attempts = () => [
      world.api().sendMessage(1, "hi", { entities }),
      world.api().sendMessage(1, "hi", { reply_markup: local }),
    ];
    for (const attempt of attempts()) expect(await failureOf(attempt)).toMatchObject({ error_code: 400 });
    await world.control.configure({ checkEntities: false, checkKeyboard: false });
    await Promise.all(attempts());
    const description = "Bad Request: chat not found";
    expect(await failureOf(world.api().sendMessage("@somebody", "hi"))).toMatchObject({ error_code: 400, description });
  });
});

describe("media", () => {
  const photo = (width: number, height: number) => new InputFile(pngHeader(width, height), "a.png");

  test("give a file_id that only its bot can send again, until it expires", async () => {
    await using world = await startSandbox();
    const sent = await world.api(1).sendPhoto(5, photo(2_000, 1_000), { caption: "look" });
    expect(sent.photo.map(({ width }) => width)).toEqual([320, 800, 1_280]);
    const { file_id, file_unique_id } = sent.photo.at(-1)!;
    const again = await world.api(1).sendPhoto(6, file_id);
    expect(again.photo.at(-1)!.file_unique_id).toBe(file_unique_id);
    const wrong = { error_code: 400, description: "Bad Request: wrong file identifier/HTTP URL specified" };
    expect(await failureOf(world.api(2).sendPhoto(5, file_id))).toMatchObject(wrong);
    expect(await failureOf(world.api(1).sendVideo(5, file_id))).toMatchObject(wrong);
    expect(await failureOf(world.api(1).sendPhoto(5, "AgACAgIAAx"))).toMatchObject(wrong);
    expect((await world.control.bot(1)).uploads).toBe(1);
    await world.control.expireFiles(1);
    expect(await failureOf(world.api(1).sendPhoto(5, file_id))).toMatchObject(wrong);
    const fresh = await world.api(1).sendPhoto(5, photo(2_000, 1_000));
    await world.api(1).sendPhoto(7, fresh.photo.at(-1)!.file_id);
  });

  test("stay good in another sandbox, as over a restart", async () => {
    await using first = await startSandbox();
    const sent = await first.api(1).sendVideo(5, new InputFile(new Uint8Array(100), "a.mp4"));
    await using second = await startSandbox();
    expect((await second.api(1).sendVideo(6, sent.video.file_id)).video.file_size).toBe(100);
  });

  test.each([
    [9_000, 1_001, "Bad Request: PHOTO_INVALID_DIMENSIONS"],
    [2_100, 100, "Bad Request: PHOTO_INVALID_DIMENSIONS"],
  ])("refuse a photo of %d × %d", async (width, height, description) => {
    await using world = await startSandbox();
    expect(await failureOf(world.api().sendPhoto(1, photo(width, height)))).toMatchObject({ description });
    await world.api().sendPhoto(1, photo(8_000, 2_000));
    await world.api().sendPhoto(1, photo(2_000, 100));
  });

  test("refuse what is no picture, too large, or said too long", async () => {
    await using world = await startSandbox();
    const text = new InputFile(new TextEncoder().encode("not a picture"), "a.png");
    const description = "Bad Request: IMAGE_PROCESS_FAILED";
    expect(await failureOf(world.api().sendPhoto(1, text))).toMatchObject({ description });
    const large = new InputFile(new Uint8Array(10 * 1024 * 1024 + 1), "a.png");
    expect(await failureOf(world.api().sendPhoto(1, large))).toMatchObject({ error_code: 413 });
    const larger = new InputFile(new Uint8Array(50 * 1024 * 1024 + 1), "a.mp4");
    expect(await failureOf(world.api().sendVideo(1, larger))).toMatchObject({ error_code: 413 });
    const long = world.api().sendPhoto(1, photo(10, 10), { caption: "x".repeat(1_025) });
    expect(await failureOf(long)).toMatchObject({ description: "Bad Request: message caption is too long" });
    expect((await world.control.totals()).accepted).toBe(0);
  });
});

describe("the Bot API's other answers", () => {
  test("getMe tells the bot of the token", async () => {
    await using world = await startSandbox();
    await world.control.putBot(tokenOf(9), { username: "nine_bot" });
    expect(await world.api(9).getMe()).toMatchObject({ id: 9, is_bot: true, username: "nine_bot" });
  });

  test("unknown methods are 404, shapeless and revoked tokens 401", async () => {
    await using world = await startSandbox();
    const reply = await world.call("sendNothing");
    expect(reply.status).toBe(404);
    expect(await reply.json()).toEqual({ ok: false, error_code: 404, description: "Not Found" });
    expect((await fetch(`${world.sandbox.url}/bot1:short/getMe`)).status).toBe(401);
    await world.control.revokeToken(tokenOf(1));
    expect(await failureOf(world.api(1).getMe())).toMatchObject({ error_code: 401, description: "Unauthorized" });
    await world.control.putBot(tokenOf(1));
    expect((await world.api(1).getMe()).id).toBe(1);
  });

  test("with strict registration only tokens that were put are known", async () => {
    await using world = await startSandbox({ strictBots: true });
    expect(await failureOf(world.api(1).getMe())).toMatchObject({ error_code: 401 });
    expect(await world.control.putBot(tokenOf(1))).toEqual({ bot: 1 });
    expect((await world.api(1).getMe()).id).toBe(1);
    expect(await failureOf(world.api(2).getMe())).toBeInstanceOf(GrammyError);
    expect((await world.control.bot(2)).refused).toEqual({ unauthorized: 1 });
  });
});
