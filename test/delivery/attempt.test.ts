import { describe, expect, test } from "bun:test";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { parseMarkdown } from "#services/core/message/markdown.ts";
import { type AttemptOptions, attemptSend, type Deliver } from "#services/delivery/attempt.ts";
import { Lane } from "#services/delivery/lane.ts";
import { createBotApi } from "#services/delivery/telegram.ts";
import { TokenChecks } from "#services/delivery/token-checks.ts";
import { systemClock } from "#services/platform/clock.ts";
import { tokenOf } from "#test/local/sandbox/support.ts";
import { answering, http, type RawOptions, startRawServer } from "./raw-server.ts";

const ACCEPTED = http("200 OK", '{"ok":true,"result":{"message_id":5,"chat":{"id":34}}}');
const REFUSED = http(
  "400 Bad Request",
  '{"ok":false,"error_code":400,"description":"Bad Request: message is too long"}',
);

function claimed(change: { chatId?: unknown; media?: string } = {}): ClaimedSend {
  const { chatId = 34, media = "ref" } = change;
  const body = { parsed: parseMarkdown("Look"), media, mediaType: media === "" ? 0 : 1, button: "", link: "" };
  const bot = { botId: 5, tokenSealed: "sealed" };
  return { botId: 5, leadId: 12, chatId, status: 2, campaignId: 5, campaignCode: "C", body, bot } as never;
}

async function setup(answer: RawOptions, change: Partial<AttemptOptions> & { root?: string } = {}) {
  const server = await startRawServer(answer);
  const api = createBotApi({ apiRoot: server.url + (change.root ?? ""), timeoutMs: 300 });
  const errors: unknown[] = [];
  const lane = new Lane(5, { limit: Number.POSITIVE_INFINITY });
  const options: AttemptOptions = {
    api,
    clock: systemClock,
    tokenChecks: new TokenChecks({ clock: systemClock, getMe: api.getMe }),
    openToken: () => tokenOf(5),
    obstacle: () => undefined,
    onError: (error) => void errors.push(error),
    ...change,
  };
  const attempt = (send = claimed()) =>
    attemptSend(lane, { send, place: lane.pacer.record(systemClock.monotonicMs()) }, options);
  return { ...server, attempt, errors };
}

/** Media of which reading fails at this moment. */
function failing(at: "before" | "after"): AttemptOptions["attach"] {
  return async (_: ClaimedSend, deliver: Deliver) => {
    if (at === "after") await deliver({ fileId: "file" });
    throw new Error("The database is away.");
  };
}

describe("an attempt", () => {
  test("whose media cannot be read is put back, and nothing is written", async () => {
    await using world = await setup(answering(ACCEPTED), { attach: failing("before") });
    expect((await world.attempt()).result).toMatchObject({ result: "putBack" });
    expect([world.connections.length, world.errors.length]).toEqual([0, 1]);
  });

  test.each([
    ["accepted", ACCEPTED, { result: "sent", messageId: 5 }],
    ["refused", REFUSED, { result: "putBack" }],
    ["not answered", "", { result: "unconfirmed", reason: SendReason.timeout }],
  ])("keeps what is known where we fail after it was %s", async (_, answer, expected) => {
    await using world = await setup(answering(answer), { attach: failing("after") });
    expect((await world.attempt()).result).toMatchObject(expected);
    expect([world.requests(), world.errors.length]).toEqual([1, 1]);
  });

  test("that cannot be made a request is put back, and told", async () => {
    await using world = await setup(answering(ACCEPTED));
    expect((await world.attempt(claimed({ chatId: 34n, media: "" }))).result).toMatchObject({ result: "putBack" });
    expect([world.connections.length, world.errors.length]).toEqual([0, 1]);
    expect(Bun.inspect(world.errors)).not.toContain("ttttt");
  });

  test("that may not be written any more when its connection stands is put back", async () => {
    let asked = 0;
    const obstacle = () => (++asked > 2 ? SendReason.leaseLost : undefined);
    await using world = await setup(answering(ACCEPTED), { obstacle });
    const { result } = await world.attempt(claimed({ media: "" }));
    expect(result).toMatchObject({ result: "putBack", reason: SendReason.leaseLost });
    expect(world.requests()).toBe(0);
    expect(asked).toBe(3);
  });

  test.each(["/", "//", "/prefix/"])(
    "is written where the Bot API's address ends in %p, with a photo too",
    async (root) => {
      async function* open() {
        yield Buffer.from("photo");
      }
      const file = { fileName: "photo.jpg", mimeType: "image/jpeg", size: 5, open };
      await using world = await setup(answering(ACCEPTED), { root, attach: (_, deliver) => deliver(file) });
      expect((await world.attempt()).result).toEqual({ result: "sent", messageId: 5 });
      expect((await world.attempt(claimed({ media: "" }))).result).toEqual({ result: "sent", messageId: 5 });
      expect(world.requests()).toBe(2);
    },
  );
});
