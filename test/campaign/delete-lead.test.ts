import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { shutGate } from "#services/core/ledger/gate.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { untilBlocked } from "#test/support/until-blocked.ts";
import { at, createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

const RUNNING = 1;
const CANCELLED = 3;

/** A broadcast with one row of the ledger for this lead, and counters that say the same. */
async function broadcastTo(
  { accountId, botId }: { accountId: bigint; botId: bigint },
  leadId: bigint,
  { state = RUNNING, send = SendState.queued as SendState, run = 1 } = {},
): Promise<number> {
  const { sql } = world;
  const [row] = await sql<{ sourceId: number }[]>`
    INSERT INTO broadcast (account_id, state, source_id, run)
    VALUES (${Number(accountId)}, ${state}, nextval('source_id_seq'), 1) RETURNING source_id AS "sourceId"`;
  const { sourceId } = row!;
  await sql`INSERT INTO send (source_id, lead_id, bot_id, kind, state, run, message_id)
    VALUES (${sourceId}, ${Number(leadId)}, ${Number(botId)}, 1, ${send}, ${run}, ${send === SendState.sent ? 4711 : null})`;
  const closed = send === SendState.queued && (state === CANCELLED || run !== 1);
  await sql`INSERT INTO send_counter (source_id, slot, enqueued, sending, sent, dropped)
    VALUES (${sourceId}, 0, 1, ${Number(send === SendState.sending)}, ${Number(send === SendState.sent)}, ${Number(closed)})`;
  return sourceId;
}

async function sendOf(sourceId: number) {
  const [row] = await world.sql`
    SELECT state, reason, message_id, settled_at IS NOT NULL AS settled, due_at FROM send WHERE source_id = ${sourceId}`;
  return row!;
}

async function countersOf(sourceId: number) {
  return (await readCounters(world.sql, [sourceId])).get(sourceId)!;
}

const droppedSend = {
  state: SendState.dropped,
  reason: SendReason.leadDeleted,
  message_id: null,
  settled: true,
  due_at: null,
};

async function setup() {
  const customer = await world.customer();
  const { accountId, campaignId } = customer;
  await world.client.saveBlock({
    accountId,
    campaignId,
    status: LeadStatus.WAIT,
    on: true,
    text: "x",
    delaySeconds: 9,
  });
  const leadId = await world.lead(customer);
  const [block] = await world.sql<{ id: number }[]>`
    SELECT source_id AS id FROM block WHERE campaign_id = ${Number(campaignId)}`;
  const remove = () => world.client.deleteLead({ accountId, leadId });
  return { ...customer, leadId, followUps: block!.id, remove };
}

describe("DeleteLead", () => {
  test("erases the lead, and answers NOT_YOURS from then on", async () => {
    const { leadId, remove, accountId } = await setup();

    await remove();

    expect(await world.sql`SELECT FROM lead WHERE id = ${Number(leadId)}`).toHaveLength(0);
    expect(await reasonOf(remove())).toBe("NOT_YOURS");
    expect(await reasonOf(world.client.optOutLead({ accountId, leadId }))).toBe("NOT_YOURS");
  });

  test("drops its follow-ups and what broadcasts have waiting, and the counters follow", async () => {
    const world1 = await setup();
    const running = await broadcastTo(world1, world1.leadId);

    await world1.remove();

    for (const sourceId of [world1.followUps, running]) {
      expect(await sendOf(sourceId)).toEqual(droppedSend);
      expect(await countersOf(sourceId)).toMatchObject({ enqueued: 1, queued: 0, dropped: 1 });
    }
  });

  test("does not count again what a closed run has counted as dropped", async () => {
    const customer = await setup();
    const cancelled = await broadcastTo(customer, customer.leadId, { state: CANCELLED });
    const earlierRun = await broadcastTo(customer, customer.leadId, { run: 0 });

    await customer.remove();

    for (const sourceId of [cancelled, earlierRun]) {
      expect(await sendOf(sourceId)).toEqual(droppedSend);
      expect(await countersOf(sourceId)).toMatchObject({ enqueued: 1, queued: 0, dropped: 1 });
    }
  });

  test("leaves what is on the wire to its owner, and of what was sent the bare id", async () => {
    const customer = await setup();
    const sending = await broadcastTo(customer, customer.leadId, { send: SendState.sending });
    const sent = await broadcastTo(customer, customer.leadId, { send: SendState.sent });

    await customer.remove();

    expect(await sendOf(sending)).toMatchObject({ state: SendState.sending, reason: 0 });
    expect(await countersOf(sending)).toMatchObject({ enqueued: 1, sending: 1, dropped: 0 });
    expect(await sendOf(sent)).toMatchObject({ state: SendState.sent, message_id: null });
    expect(await countersOf(sent)).toMatchObject({ enqueued: 1, sent: 1, dropped: 0 });
  });

  test("does not wait for a broadcast whose gate is shut: the claim drops that row", async () => {
    const customer = await setup();
    const sourceId = await broadcastTo(customer, customer.leadId);

    await world.sql.begin(async (tx) => {
      await shutGate(tx, sourceId);
      await customer.remove();
    });

    expect(await sendOf(sourceId)).toMatchObject({ state: SendState.queued });
    expect(await countersOf(sourceId)).toMatchObject({ queued: 1, dropped: 0 });
    expect(await sendOf(customer.followUps)).toEqual(droppedSend);
  });

  test("lets a claim that came first have the row", async () => {
    const customer = await setup();
    const sourceId = await broadcastTo(customer, customer.leadId);
    let removing: Promise<unknown> | undefined;

    await world.sql.begin(async (tx) => {
      await tx`UPDATE send SET state = ${SendState.sending} WHERE source_id = ${sourceId}`;
      await tx`UPDATE send_counter SET sending = 1 WHERE source_id = ${sourceId}`;
      removing = customer.remove();
      await untilBlocked(world.sql);
    });
    await removing;

    expect(await sendOf(sourceId)).toMatchObject({ state: SendState.sending, reason: 0 });
    expect(await countersOf(sourceId)).toMatchObject({ sending: 1, dropped: 0 });
  });

  test("leaves no follow-up of an entry that comes at the same time", async () => {
    for (let round = 0; round < 15; round++) {
      const customer = await setup();
      const { accountId, leadId, followUps } = customer;
      const statusTime = at(round + 1);

      const entering = world.client
        .setLeadStatus({ accountId, leadId, status: LeadStatus.WAIT, statusTime })
        .catch(async (error) => expect(await reasonOf(Promise.reject(error))).toBe("NOT_YOURS"));
      await Promise.all([entering, customer.remove()]);

      const waiting = await world.sql`SELECT FROM send WHERE source_id = ${followUps} AND state = 0`;
      expect(waiting).toHaveLength(0);
      const { enqueued, dropped } = await countersOf(followUps);
      expect(dropped).toBe(enqueued);
    }
  });

  test("of many callers lets one through", async () => {
    const customer = await setup();

    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => customer.remove()));

    expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
    expect(await countersOf(customer.followUps)).toMatchObject({ enqueued: 1, dropped: 1 });
  });

  test("answers alike for a foreign and an absent lead, and erases nothing", async () => {
    const { leadId } = await setup();
    const { accountId } = await world.customer();

    for (const id of [leadId, 999_999n]) {
      expect(await reasonOf(world.client.deleteLead({ accountId, leadId: id }))).toBe("NOT_YOURS");
    }
    expect(await world.sql`SELECT FROM lead WHERE id = ${Number(leadId)}`).toHaveLength(1);
  });
});
