import { describe, expect, test } from "bun:test";
import { SendReason } from "#services/core/ledger/send.ts";
import { useRelayWorlds } from "./relay-world.ts";

const setup = useRelayWorlds();

describe("its review", () => {
  test("finishes a broadcast with nothing queued or on the wire, and no other", async () => {
    const world = await setup({ leads: 2 });
    const id = await world.addRunning();
    const sends = await world.claimQueued(id);
    await world.settle(sends.slice(0, 1), { result: "sent", messageId: 1 });
    await world.round(1000);
    expect((await world.broadcast(id)).state).toBe(1);
    await world.settle(sends.slice(1), { result: "sent", messageId: 1 });
    await world.round(1000);
    expect((await world.broadcast(id)).state).toBe(2);
  });

  test("pauses one whose body is refused", async () => {
    const world = await setup({ leads: 5 });
    const id = await world.addRunning();
    await world.settle(await world.claimQueued(id), { result: "bodyFault", reason: SendReason.body });
    await world.round(1000);
    expect(await world.broadcast(id)).toMatchObject({ state: 4, pauseReason: expect.stringContaining("5 leads") });
  });

  test("of one that fails does not keep the others from theirs", async () => {
    const world = await setup({ leads: 2 });
    const ids = [await world.addRunning(), await world.addRunning()];
    for (const id of ids) await world.settle(await world.claimQueued(id), { result: "sent", messageId: 1 });
    await world.sql.unsafe(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON broadcast FOR EACH ROW WHEN (OLD.id = ${ids[0]}) EXECUTE FUNCTION refuse()`);
    await world.round(1000);
    expect(world.errors).toHaveLength(1);
    expect((await world.broadcast(ids[1]!)).state).toBe(2);
  });
});
