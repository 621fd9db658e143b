import { describe, expect, test } from "bun:test";
import type { Settings } from "#services/local/sandbox/settings.ts";
import { systemClock } from "#services/platform/clock.ts";
import { failureOf, startSandbox, tokenOf } from "./support.ts";

const tooMany = (seconds: number) => ({
  error_code: 429,
  description: `Too Many Requests: retry after ${seconds}`,
  parameters: { retry_after: seconds },
});

/** A sandbox whose time stands still until it is moved on. */
async function setup(settings: Partial<Settings>) {
  let nowMs = 0;
  const world = await startSandbox(settings, { clock: { ...systemClock, monotonicMs: () => nowMs } });
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { ...world, pass };
}

type World = Awaited<ReturnType<typeof setup>>;

/** Sends at once to as many chats, and returns how many were accepted. */
async function burst(world: World, count: number, more: { allow_paid_broadcast?: boolean } = {}): Promise<number> {
  const sends = Array.from({ length: count }, (_, chat) => world.api().sendMessage(chat + 1, "hi", more));
  return (await Promise.allSettled(sends)).filter(({ status }) => status === "fulfilled").length;
}

describe("a bot's second", () => {
  test("takes 30 messages, refuses the rest, and takes more once it has passed", async () => {
    await using world = await setup({ botPerSecond: 30, retryAfterSeconds: 3 });
    expect(await burst(world, 40)).toBe(30);
    expect(await failureOf(world.api().sendMessage(99, "hi"))).toMatchObject(tooMany(3));
    expect((await world.api(2).sendMessage(1, "another bot")).message_id).toBe(1);
    expect((await world.api().getMe()).id).toBe(1);
    const report = await world.control.bot(1);
    expect(report).toMatchObject({ accepted: 30, refused: { limit_bot: 11 } });
    expect(report.busiestSecond).toEqual({ arrived: 41, accepted: 30 });
    world.pass(999);
    expect(await burst(world, 1)).toBe(0);
    world.pass(1);
    expect(await burst(world, 31)).toBe(30);
  });

  test("counts other methods too when asked to", async () => {
    await using world = await setup({ botPerSecond: 2, countEveryMethod: true });
    await world.api().getMe();
    await world.api().sendMessage(1, "hi");
    expect(await failureOf(world.api().getMe())).toMatchObject(tooMany(1));
  });

  test("is wider for a paid bot's paid calls only", async () => {
    await using world = await setup({ botPerSecond: 5, paidBotPerSecond: 20 });
    await world.control.putBot(tokenOf(1), { paid: true });
    expect(await burst(world, 8)).toBe(5);
    expect(await burst(world, 15, { allow_paid_broadcast: true })).toBe(12);
    const other = Array.from({ length: 8 }, () => world.api(2).sendMessage(1, "x", { allow_paid_broadcast: true }));
    const settled = await Promise.allSettled(other);
    expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(5);
  });
});

describe("a chat's second", () => {
  test("takes a burst, and then refuses without accepting", async () => {
    await using world = await setup({ chatPerSecond: 1, chatBurst: 3 });
    for (let i = 0; i < 3; i++) await world.api().sendMessage(1, "hi");
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toMatchObject(tooMany(1));
    await world.api().sendMessage(2, "another chat");
    expect(await world.control.chatsOver(2)).toEqual([{ bot: 1, chat: 1, count: 3 }]);
    expect(await world.control.refusals(1)).toMatchObject([{ chat: 1, kind: "limit_chat", status: 429 }]);
    world.pass(1_000);
    await world.api().sendMessage(1, "a second later");
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toMatchObject(tooMany(1));
  });
});

describe("a retry_after window", () => {
  test("counts the bot's sends inside it", async () => {
    await using world = await setup({ retryAfterGraceMs: 0 });
    await world.control.script({ bot: 1, answer: { error: "retry_after", retryAfterSeconds: 30 }, times: 1 });
    expect(await failureOf(world.api(1).sendMessage(1, "hi"))).toMatchObject(tooMany(30));
    world.pass(29_999);
    await world.api(1).sendMessage(1, "too early");
    await world.api(1).getMe();
    await world.api(2).sendMessage(1, "free to send");
    world.pass(1);
    await world.api(1).sendMessage(2, "in time");
    expect(await world.control.bot(1)).toMatchObject({ insideRetryAfter: 1, accepted: 2 });
    expect(await world.control.bot(2)).toMatchObject({ insideRetryAfter: 0 });
  });

  test("forgives what was on the wire, and refuses when asked to hold", async () => {
    await using world = await setup({ retryAfterGraceMs: 50, holdDuringRetryAfter: true });
    await world.control.script({ answer: { error: "retry_after", retryAfterSeconds: 30 }, times: 1 });
    await failureOf(world.api().sendMessage(1, "hi"));
    world.pass(50);
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toMatchObject(tooMany(30));
    const refused = { retry_after: 1, limit_held: 1 };
    expect(await world.control.bot(1)).toMatchObject({ insideRetryAfter: 0, accepted: 0, refused });
  });
});
