import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TokenState } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { readNumbers } from "#services/campaign/read-numbers.ts";
import { takeServiceNumber } from "#services/core/bot/duplicate.ts";
import { NumberState, numberOfToken } from "#services/core/bot/number.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { freshBotToken, otherTokenOf } from "#test/support/bot-token.ts";
import { eventually } from "#test/support/eventually.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

interface BotRow {
  number: number | null;
  state: number;
  former: number[];
  version: number;
  held: number[];
}

async function rowOf(id: bigint | number): Promise<BotRow> {
  const [row] = await world.sql<BotRow[]>`
    SELECT number, number_state AS state, former_numbers AS former, token_version AS version,
      ARRAY(SELECT reason::int FROM lane WHERE bot_id = b.id) AS held FROM bot b WHERE id = ${Number(id)}`;
  return row!;
}

const put = (bot: { id?: bigint; accountId: bigint; token?: string }) => world.client.putBot({ bot });
const newAccount = async () => BigInt(await insertAccount(world.sql));

/** As a version before this one has stored it. */
async function insertUnread(accountId: bigint, token: string | undefined): Promise<number> {
  const [row] = await world.sql<{ id: number }[]>`
    INSERT INTO bot (account_id, username, token_sealed, webhook_secret)
    VALUES (${Number(accountId)}, '', 'v1:lost:AAAA', '') RETURNING id`;
  const { id } = row!;
  const sealed = token === undefined ? "v1:lost:AAAA" : world.secretBox.encrypt(token, `bot:${id}`);
  await world.sql`UPDATE bot SET token_sealed = ${sealed} WHERE id = ${id}`;
  return id;
}

describe("a bot's number", () => {
  test("is refused for a second row, of whichever account, in the same words and without saying whose it is", async () => {
    const { accountId, botId, token } = await world.customer();
    const stranger = await world.customer();

    const refusals = [
      await failureOf(put({ accountId, token })),
      await failureOf(put({ accountId: stranger.accountId, token })),
      await failureOf(put({ accountId: stranger.accountId, token: otherTokenOf(token) })),
    ];

    for (const refusal of refusals) expect(refusal).toEqual(refusals[0]!);
    expect(refusals[0]).toMatchObject({ reason: 8, field: "bot.token" });
    expect(refusals[0]!.message).not.toMatch(/\d/);
    expect(await rowOf(botId)).toMatchObject({ number: numberOfToken(token)!, state: NumberState.own, version: 1 });
    expect(await world.sql`SELECT FROM bot WHERE account_id = ${Number(accountId)}`).toHaveLength(1);
  });

  test("never changes: the token of another bot is refused, a new token of the same one is not", async () => {
    const { accountId, botId, token } = await world.customer();
    const other = await world.customer();
    const before = await rowOf(botId);

    for (const wrong of [freshBotToken(), other.token]) {
      expect(await failureOf(put({ id: botId, accountId, token: wrong }))).toMatchObject({
        reason: 5,
        field: "bot.token",
      });
      expect(await rowOf(botId)).toEqual(before);
    }
    await put({ id: botId, accountId, token: otherTokenOf(token) });
    expect(await rowOf(botId)).toEqual({ ...before, version: 2 });
  });

  test("goes to one of those who want it at the same time", async () => {
    for (let round = 0; round < 10; round++) {
      const token = freshBotToken();
      const accounts = await Promise.all(Array.from({ length: 6 }, newAccount));

      const outcomes = await Promise.allSettled(accounts.map((accountId) => put({ accountId, token })));

      const lost = outcomes.filter((outcome) => outcome.status === "rejected");
      expect(lost).toHaveLength(5);
      for (const { reason } of lost) expect(await reasonOf(Promise.reject(reason))).toBe("WRONG_STATE");
      expect(await world.sql`SELECT FROM bot WHERE number = ${numberOfToken(token)!}`).toHaveLength(1);
    }
  });

  test("is not the service bot's, which takes it from whoever had it", async () => {
    const { accountId, botId, token } = await world.customer();
    const number = numberOfToken(token)!;

    expect(await takeServiceNumber(world.sql, number)).toBe(Number(botId));

    expect(await rowOf(botId)).toEqual({
      number: null,
      state: NumberState.duplicate,
      former: [number],
      version: 1,
      held: [HoldReason.duplicate],
    });
    expect(await reasonOf(put({ id: botId, accountId, token }))).toBe("WRONG_STATE");
    expect(await reasonOf(put({ accountId, token: otherTokenOf(token) }))).toBe("WRONG_STATE");
    expect(await takeServiceNumber(world.sql, number)).toBeUndefined();
    await takeServiceNumber(world.sql, numberOfToken(freshBotToken())!);
    await put({ id: botId, accountId, token });
    expect(await rowOf(botId)).toMatchObject({ number, state: NumberState.own, held: [] });
  });
});

describe("a number whose token is dead", () => {
  test("goes to a token that Telegram knows; its row keeps its leads and waits for another number", async () => {
    const customer = await world.customer();
    const leadId = await world.lead(customer);
    const { botId, token, accountId } = customer;
    const number = numberOfToken(token)!;
    const heir = await newAccount();
    const fresh = otherTokenOf(token);

    world.tokenStates.set(token, TokenState.DEAD);
    world.tokenStates.set(fresh, TokenState.DEAD);
    expect(await reasonOf(put({ accountId: heir, token: fresh }))).toBe("WRONG_STATE");
    world.tokenStates.delete(fresh);
    const { bot } = await put({ accountId: heir, token: fresh });

    expect(await rowOf(bot!.id)).toMatchObject({ number, state: NumberState.own });
    expect(await rowOf(botId)).toMatchObject({
      number: null,
      state: NumberState.duplicate,
      held: [HoldReason.duplicate],
    });
    expect(await world.sql`SELECT FROM lead WHERE id = ${Number(leadId)}`).toHaveLength(1);
    expect(await reasonOf(put({ id: botId, accountId, token: otherTokenOf(token) }))).toBe("WRONG_STATE");
    const own = freshBotToken();
    await put({ id: botId, accountId, token: own });
    expect(await rowOf(botId)).toEqual({
      number: numberOfToken(own)!,
      state: NumberState.own,
      former: [number],
      version: 2,
      held: [],
    });
    expect(await reasonOf(put({ id: botId, accountId, token: freshBotToken() }))).toBe("INVALID_ARGUMENT");
  });

  test("stays where it is while Telegram does not say, and where both tokens are known", async () => {
    const { botId, token } = await world.customer();
    const before = await rowOf(botId);
    const accountId = await newAccount();
    const fresh = otherTokenOf(token);

    for (const [held, wanted, reason] of [
      [TokenState.ALIVE, TokenState.ALIVE, "WRONG_STATE"],
      [TokenState.UNSPECIFIED, TokenState.ALIVE, "UNAVAILABLE"],
      [TokenState.DEAD, TokenState.UNSPECIFIED, "UNAVAILABLE"],
    ] as const) {
      world.tokenStates.set(token, held);
      world.tokenStates.set(fresh, wanted);
      expect(await reasonOf(put({ accountId, token: fresh }))).toBe(reason);
    }

    expect(await rowOf(botId)).toEqual(before);
  });

  test("goes to one of those who come with living tokens at the same time", async () => {
    const { token, botId } = await world.customer();
    world.tokenStates.set(token, TokenState.DEAD);
    const accounts = await Promise.all(Array.from({ length: 5 }, newAccount));

    const calls = accounts.map((accountId) => put({ accountId, token: otherTokenOf(token) }));
    const outcomes = await Promise.allSettled(calls);

    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await rowOf(botId)).toMatchObject({ former: [numberOfToken(token)!] });
  });
});

describe("numbers that are not known yet", () => {
  test("keep PutBot waiting until they are read, and start that", async () => {
    const accountId = await newAccount();
    const id = await insertUnread(accountId, freshBotToken());
    const release = await holdLock(world.sql, (tx) => tx`SELECT FROM bot WHERE id = ${id} FOR UPDATE`);

    expect(await reasonOf(put({ accountId, token: freshBotToken() }))).toBe("UNAVAILABLE");
    await release();

    await eventually(async () => (await rowOf(id)).state === NumberState.own);
    await put({ accountId, token: freshBotToken() });
  });

  test("are read once: of equal ones the oldest row keeps it, the others are held and named", async () => {
    const accountId = await newAccount();
    const [token, lonely] = [freshBotToken(), freshBotToken()];
    const owner = await world.customer();
    const first = await insertUnread(accountId, token);
    const second = await insertUnread(await newAccount(), otherTokenOf(token));
    const alone = await insertUnread(accountId, lonely);
    const lost = await insertUnread(accountId, undefined);
    const copy = await insertUnread(accountId, owner.token);
    const { log, records } = captureLog();
    const options = { ...world, log };

    await Promise.all([readNumbers(options), readNumbers(options), readNumbers(options)]);

    const number = numberOfToken(token)!;
    const duplicate = { number: null, state: NumberState.duplicate, held: [HoldReason.duplicate] };
    expect(await rowOf(first)).toMatchObject({ number, state: NumberState.own, held: [] });
    expect(await rowOf(second)).toMatchObject({ ...duplicate, former: [number] });
    expect(await rowOf(alone)).toMatchObject({ number: numberOfToken(lonely)!, state: NumberState.own });
    expect(await rowOf(lost)).toMatchObject({ number: null, state: NumberState.unreadable, held: [] });
    expect(await rowOf(copy)).toMatchObject({ ...duplicate, former: [numberOfToken(owner.token)!] });
    expect(await rowOf(owner.botId)).toMatchObject({ state: NumberState.own, former: [] });
    const said = records().map(({ botId, sameAsBotId, botIds }) => ({ botId, sameAsBotId, botIds }) as object);
    expect(said).toContainEqual({ botId: second, sameAsBotId: first });
    expect(said).toContainEqual({ botId: copy, sameAsBotId: Number(owner.botId) });
    expect(said).toContainEqual({ botIds: [lost] });
  });

  test("of a token that no key opens are given by the next PutBot", async () => {
    const accountId = await newAccount();
    const id = await insertUnread(accountId, undefined);
    await readNumbers({ ...world, log: captureLog().log });
    const token = freshBotToken();

    await put({ id: BigInt(id), accountId, token });

    expect(await rowOf(id)).toMatchObject({ number: numberOfToken(token)!, state: NumberState.own, former: [0] });
  });

  test("are read on where a start was killed, batch by batch", async () => {
    const accountId = await newAccount();
    const sealed = createSecretBox([{ id: "other", key: new Uint8Array(32) }]).encrypt("x", "y");
    await world.sql`
      INSERT INTO bot (account_id, username, token_sealed, webhook_secret)
      SELECT ${Number(accountId)}, '', ${sealed}, '' FROM generate_series(1, 1100)`;

    await readNumbers({ ...world, log: captureLog().log });

    expect(await world.sql`SELECT FROM bot WHERE number_state = ${NumberState.unread}`).toHaveLength(0);
  });
});
