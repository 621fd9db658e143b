import { describe, expect, test } from "bun:test";
import { ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { DomainError, notYours } from "#services/platform/domain-error.ts";
import { type Replies, setup } from "../gateway-world.ts";

const update = '{"update_id":1,"callback_query":{"id":"9","data":"u:1"}}';

interface Sent {
  bot?: string;
  body?: string | Uint8Array<ArrayBuffer> | ReadableStream;
  secret?: string;
}

function send(world: ReturnType<typeof setup>, { bot = "3", body = update, secret = "hook-secret" }: Sent = {}) {
  const headers = secret === "" ? undefined : { "x-telegram-bot-api-secret-token": secret };
  return world.handle(new Request(`http://localhost/telegram/${bot}`, { method: "POST", headers, body }));
}

async function outcome(replies: Replies, request: Sent = {}) {
  const world = setup(replies);
  const response = await send(world, request);
  return { status: response.status, text: await response.text(), calls: world.calls };
}

describe("POST /telegram/:bot", () => {
  test("hands the update and its secret to HandleUpdate, and answers with its reply", async () => {
    const replyJson = '{"method":"answerCallbackQuery","callback_query_id":"9"}';
    const { status, text, calls } = await outcome({ HandleUpdate: { replyJson } });
    expect([status, text]).toEqual([200, replyJson]);
    expect(calls[0]).toMatchObject({
      rpc: "HandleUpdate",
      request: { botId: 3n, updateJson: update, webhookSecret: "hook-secret" },
    });
  });

  test("answers 200 with nothing where there is nothing to reply", async () => {
    expect(await outcome({})).toMatchObject({ status: 200, text: "" });
  });

  test("gives a wrong secret and an unknown bot the same empty 403", async () => {
    expect(await outcome({ HandleUpdate: notYours("bot") })).toMatchObject({ status: 403, text: "" });
  });

  test.each([
    ["without a secret", { secret: "" }],
    ["with a secret of 257 characters", { secret: "s".repeat(257) }],
    ["for a bot that is no number", { bot: "abc" }],
    ["for bot 0", { bot: "0" }],
    ["for a bot past 2^53 - 1", { bot: "9007199254740992" }],
  ])("refuses an update %s before it calls anybody", async (_case, request) => {
    expect(await outcome({}, request)).toEqual({ status: 403, text: "", calls: [] });
  });

  test("passes on an update of a mebibyte", async () => {
    const body = `{"message":"${"x".repeat(1024 * 1024 - 14)}"}`;
    const { status, calls } = await outcome({}, { body });
    expect(status).toBe(200);
    expect(calls[0]).toMatchObject({ request: { updateJson: body } });
  });

  test.each([
    ["is larger than that", "too large", "x".repeat(1024 * 1024 + 1)],
    ["is no UTF-8", "no UTF-8", new Uint8Array([0x7b, 0xff, 0x7d])],
  ] as const)(
    "answers 200 to what %s, once the secret is found to be right, and logs why",
    async (_case, problem, body) => {
      const world = setup({});
      expect((await send(world, { body })).status).toBe(200);
      expect(world.calls).toMatchObject([
        { rpc: "HandleUpdate", request: { updateJson: "{}", webhookSecret: "hook-secret" } },
      ]);
      expect(world.logged).toContainEqual(expect.objectContaining({ botId: 3, problem }));
      expect(await outcome({ HandleUpdate: notYours("bot") }, { body })).toMatchObject({ status: 403, text: "" });
    },
  );

  test("answers 503 while the service is away, so that Telegram sends the update again", async () => {
    const away = new DomainError(ErrorReason.UNAVAILABLE, "away");
    expect(await outcome({ HandleUpdate: away })).toMatchObject({ status: 503, text: "" });
  });

  test("answers 200 to an update that the service can never read, and logs that", async () => {
    const unreadable = new DomainError(ErrorReason.INVALID_ARGUMENT, "no JSON", { field: "update_json" });
    const world = setup({ HandleUpdate: unreadable });
    expect((await send(world, { body: "a person's words" })).status).toBe(200);
    expect(world.logged).toContainEqual(expect.objectContaining({ botId: 3, problem: "no update" }));
    expect(JSON.stringify(world.logged)).not.toContain("person");
  });

  test("answers 400 where the body breaks off, so that Telegram sends the update again", async () => {
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("cut")) });
    expect(await outcome({}, { body: broken })).toEqual({ status: 400, text: "", calls: [] });
  });

  test("logs neither the secret nor the update", async () => {
    const world = setup();
    await send(world);
    expect(JSON.stringify(world.logged)).not.toContain("hook-secret");
    expect(JSON.stringify(world.logged)).not.toContain("callback_query");
  });
});
