import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { updateBroadcast } from "#services/broadcast/edit.ts";
import { resumeBroadcast, reviewBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import type { SendResult } from "#services/core/ledger/settle.ts";
import { emptyBody } from "#services/core/message/body.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

const fault: SendResult = { result: "bodyFault", reason: SendReason.body };
const sent: SendResult = { result: "sent", messageId: 1 };

async function setup(leads: number) {
  const world = await createWorld(database.sql, { leads });
  const id = await world.addBroadcast();
  await startBroadcast(world.sql, world.accountId, id);
  const audience = {
    statuses: 31,
    campaignIds: [],
    createdFrom: null,
    createdTo: null,
    statusFrom: null,
    statusTo: null,
  };
  return {
    ...world,
    id,
    edit: (text: string) =>
      updateBroadcast(
        world.sql,
        world.accountId,
        id,
        { name: "", audience, body: { ...emptyBody, text } },
        async () => {},
      ),
    review: () => reviewBroadcast(world.sql, world.accountId, id),
    resume: () => resumeBroadcast(world.sql, world.accountId, id),
    /** Claims `n` and lets the Bot API refuse their body. */
    refuse: async (n: number): Promise<ClaimedSend[]> => {
      const sends = await world.claimQueued(id, n);
      await world.settle(sends, fault);
      return sends;
    },
  };
}

describe("a fault of the body", () => {
  test("sends the lead back to wait for another body", async () => {
    const world = await setup(10);
    await world.refuse(1);
    expect((await world.rows(world.id))[0]).toMatchObject({ state: SendState.queued, reason: 20, faultRevision: 1 });
    expect(await world.counters(world.id)).toMatchObject({ queued: 10, sending: 0, failed: 0 });
    expect(await world.used()).toBe(0);
    expect(await world.claimQueued(world.id, 1)).toEqual([]);
  });

  test("is the lead's once another lead has had the same body, which also lets the waiting ones go", async () => {
    const world = await setup(3);
    const [first, second, third] = await world.claimQueued(world.id);
    await world.settle([first!], fault);
    await world.settle([second!], sent);
    await world.settle([third!], fault);
    expect((await world.rows(world.id)).map((row) => row.state)).toEqual([
      SendState.queued,
      SendState.sent,
      SendState.failed,
    ]);
    const again = await world.claimQueued(world.id);
    expect(again.map((send) => send.leadId)).toEqual([first!.leadId]);
    await world.settle(again, fault);
    expect((await world.rows(world.id))[0]).toMatchObject({ state: SendState.failed, reason: SendReason.body });
  });

  test("is the lead's when the accepted one settles in the same batch", async () => {
    const world = await setup(2);
    const sends = await world.claimQueued(world.id);
    await world.settle(sends, (_, i) => (i === 0 ? fault : sent));
    expect((await world.rows(world.id)).map((row) => row.state)).toEqual([SendState.failed, SendState.sent]);
  });

  test("of a body that was replaced meanwhile lets the lead have the new one at once", async () => {
    const world = await setup(2);
    const sends = await world.claimQueued(world.id);
    await world.edit("Better");
    await world.settle(sends, fault);
    expect(await world.broadcast(world.id)).toMatchObject({ faultLeads: 0 });
    expect((await world.claimQueued(world.id)).map((send) => send.body.revision)).toEqual([2, 2]);
  });

  test("pauses the broadcast at five leads, saying why, and not at four", async () => {
    const world = await setup(20);
    await world.refuse(4);
    expect(await world.review()).toBe(1);
    // The first four wait for another body, so the fifth is among the next.
    const [fifth] = await world.claimQueued(world.id, 5);
    await world.settle([fifth!], fault);
    expect(await world.review()).toBe(4);
    expect((await world.broadcast(world.id)).pauseReason).toContain("5 leads");
  });

  test("does not pause while another lead has had this body", async () => {
    const world = await setup(20);
    const sends = await world.claimQueued(world.id, 7);
    await world.settle(sends.slice(0, 6), fault);
    await world.settle(sends.slice(6), sent);
    expect(await world.review()).toBe(1);
  });

  test("pauses when all that are left met it, and not while one is on the wire", async () => {
    const world = await setup(3);
    const sends = await world.claimQueued(world.id);
    await world.settle(sends.slice(0, 2), fault);
    expect(await world.review()).toBe(1);
    await world.settle(sends.slice(2), fault);
    expect(await world.review()).toBe(4);
  });

  test("does not pause for those that met it and are gone", async () => {
    const world = await setup(6);
    const sends = await world.refuse(4);
    await world.sql`
      UPDATE send SET state = ${SendState.dropped}, reason = ${SendReason.leadDeleted}, settled_at = now()
      WHERE source_id = ${sends[0]!.sourceId} AND fault_revision = 1`;
    await world.sql`UPDATE send_counter SET dropped = dropped + 4 WHERE source_id = ${sends[0]!.sourceId} AND slot >= 0`;
    expect(await world.review()).toBe(1);
  });

  test("is over with another body: the waiting go on, and the count begins again", async () => {
    const world = await setup(5);
    await world.refuse(5);
    expect(await world.review()).toBe(4);
    await world.edit("Better");
    await world.resume();
    const sends = await world.claimQueued(world.id);
    expect(sends.map((send) => send.body.parsed.text)).toEqual(Array(5).fill("Better"));
    await world.settle(sends.slice(0, 1), fault);
    expect(await world.broadcast(world.id)).toMatchObject({ faultLeads: 1, pauseReason: "" });
  });

  test("is tried again by Resume without an edit, and pauses again", async () => {
    const world = await setup(5);
    await world.refuse(5);
    await world.review();
    await world.resume();
    expect(await world.review()).toBe(1);
    expect(await world.refuse(5)).toHaveLength(5);
    expect(await world.review()).toBe(4);
  });
});
