import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { HoldReason } from "#services/core/ledger/send.ts";
import { freshBotToken, otherTokenOf } from "#test/support/bot-token.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

interface BotRow {
  token_sealed: string;
  token_version: number;
  messages_per_second: number;
  webhook_secret: string;
  webhook_secret_sealed: string;
  username: string;
}

async function rowOf(botId: bigint): Promise<BotRow> {
  const [row] = await world.sql<BotRow[]>`SELECT * FROM bot WHERE id = ${Number(botId)}`;
  return row!;
}

async function stopLane(botId: bigint, reason: HoldReason): Promise<void> {
  await world.sql`INSERT INTO lane (bot_id, reason, probe_at) VALUES (${Number(botId)}, ${reason}, 'infinity')`;
}

/** Whether what holds the bot is to be asked about now. */
async function isDue(botId: bigint): Promise<boolean> {
  const [row] = await world.sql<{ due: boolean }[]>`
    SELECT probe_at <= now() AS due FROM lane WHERE bot_id = ${Number(botId)}`;
  return row!.due;
}

async function laneReason(botId: bigint): Promise<number | undefined> {
  const [row] = await world.sql<{ reason: number }[]>`SELECT reason FROM lane WHERE bot_id = ${Number(botId)}`;
  return row?.reason;
}

describe("PutBot", () => {
  test("seals the token for this bot, and shows it to nobody", async () => {
    const { accountId } = await world.customer();
    const token = freshBotToken();

    const { bot } = await world.client.putBot({ bot: { accountId, token, username: "a_bot" } });

    expect(bot).toMatchObject({ accountId, token: "", username: "a_bot", messagesPerSecond: 30 });
    const row = await rowOf(bot!.id);
    expect(row.token_sealed).not.toContain(token.split(":")[1]!);
    expect(world.secretBox.decrypt(row.token_sealed, `bot:${bot!.id}`)).toBe(token);
    expect(row.webhook_secret).toBe("");
    const secret = world.secretBox.decrypt(row.webhook_secret_sealed, `webhook:${bot!.id}`);
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
  });

  test("keeps the token, its version and the webhook's secret when the token is left out or the same", async () => {
    const { accountId, botId, token } = await world.customer();
    const before = await rowOf(botId);

    await world.client.putBot({ bot: { id: botId, accountId, username: "renamed", messagesPerSecond: 100 } });
    await world.client.putBot({ bot: { id: botId, accountId, username: "renamed", messagesPerSecond: 100, token } });

    expect(await rowOf(botId)).toEqual({ ...before, username: "renamed", messages_per_second: 100 });
  });

  test("sets a lane going that stopped on a dead token, and no other", async () => {
    const { accountId, botId, token } = await world.customer();
    const [second, third] = [otherTokenOf(token), otherTokenOf(token)];
    const replace = (newToken: string) =>
      world.client.putBot({ bot: { id: botId, accountId, username: "b", token: newToken } });

    await stopLane(botId, HoldReason.tokenDead);
    expect(await isDue(botId)).toBe(false);
    await replace(token);
    expect([await laneReason(botId), await isDue(botId)]).toEqual([HoldReason.tokenDead, true]);
    await replace(second);
    expect(await laneReason(botId)).toBeUndefined();
    await stopLane(botId, HoldReason.operator);
    await replace(third);

    expect(await laneReason(botId)).toBe(HoldReason.operator);
    const row = await rowOf(botId);
    expect(row.token_version).toBe(3);
    expect(world.secretBox.decrypt(row.token_sealed, `bot:${botId}`)).toBe(third);
  });

  test("takes a token in where the stored one can no longer be opened", async () => {
    const { accountId, botId, token } = await world.customer();
    await world.sql`UPDATE bot SET token_sealed = 'v1:lost:AAAA' WHERE id = ${Number(botId)}`;

    await world.client.putBot({ bot: { id: botId, accountId, token } });

    const row = await rowOf(botId);
    expect(row.token_version).toBe(2);
    expect(world.secretBox.decrypt(row.token_sealed, `bot:${botId}`)).toBe(token);
  });

  test("refuses a new bot without a token, and a token that is none, without repeating it", async () => {
    const { accountId } = await world.customer();

    expect(await failureOf(world.client.putBot({ bot: { accountId } }))).toMatchObject({ field: "bot.token" });
    for (const bad of [
      "1001:se cret",
      "../../evil",
      "1001:a/b",
      "1001:ü",
      "1001",
      "1001:",
      "01001:a",
      "0:a",
      "x1:a",
      `${2 ** 60}:a`,
    ]) {
      const failure = await failureOf(world.client.putBot({ bot: { accountId, token: bad } }));
      expect(failure).toMatchObject({ reason: 5, field: "bot.token" });
      expect(failure.message).not.toContain(bad);
    }
  });

  test("never moves a bot to another account", async () => {
    const { botId, token } = await world.customer();
    const { accountId } = await world.customer();
    const before = await rowOf(botId);

    expect(await reasonOf(world.client.putBot({ bot: { id: botId, accountId, token } }))).toBe("NOT_YOURS");
    expect(await rowOf(botId)).toEqual(before);
  });

  test("answers NOT_YOURS for an account that does not exist", async () => {
    expect(await reasonOf(world.client.putBot({ bot: { accountId: 999_999n, token: freshBotToken() } }))).toBe(
      "NOT_YOURS",
    );
  });

  test("makes a bot once, however many calls bring it at the same time", async () => {
    const { accountId } = await world.customer();
    const id = 4_000_000n;
    const token = freshBotToken();

    const calls = Array.from({ length: 10 }, () => world.client.putBot({ bot: { id, accountId, token } }));
    await Promise.all(calls);

    expect((await rowOf(id)).token_version).toBe(1);
    expect(await world.bot(accountId)).toBeGreaterThan(id);
  });

  test("has delivery set the webhook only when it is asked to", async () => {
    const { accountId, botId, token } = await world.customer();

    await world.client.putBot({ bot: { id: botId, accountId, token } });
    await world.client.putBot({ bot: { id: botId, accountId, token }, setWebhook: true });

    expect(world.asked.filter((call) => "webhookOf" in call)).toEqual([{ webhookOf: botId }]);
  });
});
