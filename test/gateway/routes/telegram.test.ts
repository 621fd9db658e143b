import { describe, expect, test } from "bun:test";
import { ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { DomainError, notYours } from "#services/platform/domain-error.ts";
import { type Replies, setup } from "../gateway-world.ts";

const update = '{"update_id":1,"callback_query":{"id":"9","data":"u:1"}}';

function send(world: ReturnType<typeof setup>, { bot = "3", body = update, secret = "hook-secret" } = {}) {
  const headers = secret === "" ? undefined : { "x-telegram-bot-api-secret-token": secret };
  return world.handle(new Request(`http://localhost/telegram/${bot}`, { method: "POST", headers, body }));
}

async function outcome(replies: Replies, request: Parameters<typeof send>[1] = {}) {
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

  test("refuses what is larger than an update may be", async () => {
    expect(await outcome({}, { body: "x".repeat(65_537) })).toEqual({ status: 400, text: "", calls: [] });
  });

  test("answers 503 while the service is away, so that Telegram sends the update again", async () => {
    const away = new DomainError(ErrorReason.UNAVAILABLE, "away");
    expect(await outcome({ HandleUpdate: away })).toMatchObject({ status: 503, text: "" });
  });

  test("answers 400 to an update that the service cannot read", async () => {
    const unreadable = new DomainError(ErrorReason.INVALID_ARGUMENT, "no JSON", { field: "update_json" });
    expect(await outcome({ HandleUpdate: unreadable })).toMatchObject({ status: 400, text: "" });
  });

  test("logs neither the secret nor the update", async () => {
    const world = setup();
    await send(world);
    expect(JSON.stringify(world.logged)).not.toContain("hook-secret");
    expect(JSON.stringify(world.logged)).not.toContain("callback_query");
  });
});
