import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { createCustomer, userOf } from "../support/customer.ts";
import { countStates, expectCounters, expectNobodyTwice, linesOfRecord, linesOfSent } from "../support/records.ts";
import { withSystem } from "../support/system.ts";

setDefaultTimeout(120_000);

describe("a broadcast through the real processes", () => {
  test("reaches each of 2,000 leads once, with the text of its moment, and its top-up exactly the new ones", () =>
    withSystem({}, async (system) => {
      const customer = await createCustomer(system, { leadsPerBot: 1_000 });
      const [first, second] = customer.bots;
      const gone = {
        blocked: chats(101, 20),
        deactivated: chats(1_201, 20),
        chat_not_found: [...chats(951, 15), ...chats(1_951, 15)],
      };
      await system.sandbox.script({ bot: first!.sandboxId, chat: gone.blocked, answer: { error: "blocked" } });
      await system.sandbox.script({ bot: second!.sandboxId, chat: gone.deactivated, answer: { error: "deactivated" } });
      await system.sandbox.script({ chat: gone.chat_not_found, answer: { error: "chat_not_found" } });

      const id = await customer.createBroadcast("Good morning, *{user}*: the _old_ text");
      expect(await customer.start(id)).toBe(2_000);
      await customer.untilAccepted(400);
      await customer.act("pause", id);
      await customer.untilNothingIsSending();
      const beforeEdit = new Set((await customer.record()).map((message) => message.chat));
      await customer.editText(id, "Good evening, {user}: `the new text`");
      expect((await customer.get(id)).status).toBe(4);
      expect((await customer.record()).length).toBe(beforeEdit.size);
      await customer.act("resume", id);
      const done = await customer.untilDone(id);

      await expectNobodyTwice(system);
      const record = await customer.record();
      const rows = await customer.ledger(id);
      expectCounters(done, rows);
      expect(done).toMatchObject({ status: 2, sent: 1_930, queued: 0, failed: 70, total: 1_930, remaining: 0 });
      expect(linesOfSent(rows, customer)).toEqual(linesOfRecord(record));

      expect(beforeEdit.size).toBeWithin(400, 1_930);
      for (const { chat, text, entities } of record) {
        expect({ text, entities }).toEqual(beforeEdit.has(chat) ? oldMessage(chat) : newMessage(chat));
      }

      expect(leftWith(SendReason.blocked)).toEqual(gone.blocked);
      expect(leftWith(SendReason.deactivated)).toEqual(gone.deactivated);
      expect(leftWith(SendReason.chatNotFound)).toEqual(gone.chat_not_found);

      const fresh = await customer.addLeads(25);
      expect(await customer.start(id)).toBe(50);
      expect(await customer.untilDone(id)).toMatchObject({ sent: 1_980, failed: 70, total: 1_980, remaining: 0 });
      const toppedUp = (await customer.record()).slice(record.length).map((message) => message.chat);
      expect(toppedUp.sort(ascending)).toEqual(fresh);
      await expectNobodyTwice(system);

      /** Chats of the leads that failed with that reason, and are out of every audience because of it. */
      function leftWith(reason: number): number[] {
        const left = rows.filter((row) => row.state === SendState.failed && row.reason === reason);
        expect(left.every((row) => row.unreachable === reason)).toBeTrue();
        return left.map((row) => row.chatId);
      }
    }));

  test("cancelled in the middle, reaches exactly the rest when it is started again", () =>
    withSystem({}, async (system) => {
      const customer = await createCustomer(system, { leadsPerBot: 500, messagesPerSecond: 250 });
      const id = await customer.createBroadcast("Hello {user}");
      expect(await customer.start(id)).toBe(1_000);
      await customer.untilAccepted(200);
      await customer.act("cancel", id);
      await customer.untilNothingIsSending();

      const reached = await customer.record();
      const cancelled = await customer.get(id);
      expectCounters(cancelled, await customer.ledger(id));
      expect(cancelled).toMatchObject({
        status: 3,
        queued: 0,
        sent: reached.length,
        failed: 0,
        remaining: 1_000 - reached.length,
      });
      expect(reached.length).toBeWithin(200, 1_000);

      expect(await customer.start(id)).toBe(1_000 - reached.length);
      expect(await customer.untilDone(id)).toMatchObject({ sent: 1_000, queued: 0, failed: 0 });
      const rows = await customer.ledger(id);
      expect(countStates(rows).sent).toBe(1_000);
      expect(linesOfSent(rows, customer)).toEqual(linesOfRecord(await customer.record()));
      await expectNobodyTwice(system);
    }));
});

function chats(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

function ascending(a: number, b: number): number {
  return a - b;
}

function oldMessage(chat: number) {
  const user = userOf(chat);
  const italicAt = `Good morning, ${user}: the `.length;
  return {
    text: `Good morning, ${user}: the old text`,
    entities: [
      { type: "bold", offset: 14, length: user.length },
      { type: "italic", offset: italicAt, length: 3 },
    ],
  };
}

function newMessage(chat: number) {
  const start = `Good evening, ${userOf(chat)}: `;
  return { text: `${start}the new text`, entities: [{ type: "code", offset: start.length, length: 12 }] };
}
