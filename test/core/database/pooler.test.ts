/** Everything through a pooler in transaction mode: one of the tests' own, and PgBouncer where the machine has it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { createDatabase, migrate } from "#services/core/database/client.ts";
import { installedPgbouncer, startPgbouncer } from "#services/local/embedded/pgbouncer.ts";
import { png } from "#test/core/media/files.ts";
import { type Customer, createCustomer } from "#test/support/customer.ts";
import { eventually } from "#test/support/eventually.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { expectCounters, expectNobodyTwice } from "#test/support/records.ts";
import { type System, withSystem } from "#test/support/system.ts";
import { startTransactionPooler } from "#test/support/transaction-pooler.ts";

setDefaultTimeout(120_000);

type StartPooler = (databaseUrl: string, poolSize: number) => Promise<{ url: string; stop(): Promise<void> }>;

const poolers: [name: string, start: StartPooler][] = [
  ["the tests' pooler", (databaseUrl, poolSize) => startTransactionPooler({ databaseUrl, poolSize })],
];
const binary = installedPgbouncer();
if (binary) {
  poolers.push([
    "PgBouncer",
    (databaseUrl, poolSize) => startPgbouncer({ binary, databaseUrl, poolSize, folder: temporaryFolder("pgbouncer") }),
  ]);
}

/** More than one of everything that the processes do at once, and fewer than they would have without a pooler. */
const POOL_SIZE = 6;
const LEADS_PER_BOT = 150;

describe("the tests' pooler", () => {
  test("keeps a transaction on one connection, and hands what follows to another", async () => {
    const database = await createTestDatabase();
    const pooler = await startTransactionPooler({ databaseUrl: database.url, poolSize: 3 });
    const { sql, close } = createDatabase({ url: pooler.url, prepare: false, maxConnections: 3 });
    await Promise.all(Array.from({ length: 3 }, () => sql`SELECT pg_sleep(0.05)`));
    const inside = await sql.begin(async (tx) => {
      const pids = await Promise.all(Array.from({ length: 5 }, () => tx`SELECT pg_backend_pid() AS pid`));
      return pids.map(([row]) => row!.pid as number);
    });
    expect(new Set(inside).size).toBe(1);
    const single = createDatabase({ url: pooler.url, prepare: false, maxConnections: 1 });
    await single.sql`SET application_name = 'of one session'`;
    expect(await single.sql`SELECT current_setting('application_name') AS name`).not.toEqual([
      { name: "of one session" },
    ]);
    expect(pooler.switches).toBeGreaterThan(0);
    await Promise.all([close(), single.close()]);
    await pooler.stop();
    await database.drop();
  });
});

describe.each(poolers)("behind %s in transaction mode", (_, start) => {
  test("more processes migrate an empty database at once than the pool has connections", async () => {
    const database = await createTestDatabase();
    const empty = `${new URL(database.url).pathname.slice(1)}_empty`;
    await database.sql.unsafe(`CREATE DATABASE ${empty}`);
    const url = Object.assign(new URL(database.url), { pathname: `/${empty}` }).href;
    const pooler = await start(url, 2);
    await Promise.all(Array.from({ length: 6 }, () => migrate(pooler.url)));
    const { sql, close } = createDatabase({ url: pooler.url, prepare: false, maxConnections: 1 });
    const columns = `SELECT table_name, column_name, data_type FROM information_schema.columns
      WHERE table_schema = 'public' ORDER BY 1, 2`;
    expect([...(await sql.unsafe(columns))]).toEqual([...(await database.sql.unsafe(columns))]);
    await close();
    await pooler.stop();
    await database.sql.unsafe(`DROP DATABASE ${empty} WITH (FORCE)`);
    await database.drop();
  });

  test("two replicas of everything send broadcasts, media and follow-ups, and nobody gets one twice", () =>
    withSystem({ delivery: 2, broadcast: 2, pooler: (url) => start(url, POOL_SIZE) }, async (system) => {
      const customer = await createCustomer(system, { botIds: [1, 31], leadsPerBot: LEADS_PER_BOT });
      await switchFollowUpsOn(system, customer);
      const id = await draftWithPhoto(system, customer);
      const leads = 2 * LEADS_PER_BOT;
      expect(await customer.start(id)).toBe(leads);
      await customer.untilAccepted(50);
      await customer.act("pause", id);
      await customer.untilNothingIsSending();
      const paused = (await system.sandbox.totals()).accepted;
      expectCounters(await customer.get(id), await customer.ledger(id));
      expect((await customer.get(id)).queued).toBe(leads - paused);
      await customer.act("resume", id);
      const done = await customer.untilDone(id);
      expectCounters(done, await customer.ledger(id));
      expect(done).toMatchObject({ status: 2, sent: leads, queued: 0, failed: 0, remaining: 0 });
      await expectNobodyTwice(system);

      await enterApproved(system, customer);
      await customer.untilAccepted(leads + 20);
      await eventually(async () => (await system.sql`SELECT FROM send WHERE kind = 2 AND state = 2`).length === 20);
      expect(system.logs()).not.toMatch(/"level":(50|60|"error"|"fatal")/);
    }));
});

async function switchFollowUpsOn(system: System, { session, bots }: Customer): Promise<void> {
  for (const { campaignId } of bots) {
    const block = { id: String(campaignId), status: "2", on: "1", delay: "1", text: "You are in, {user}" };
    await system.rest(session, "camp/broadcast.json", block);
  }
}

async function draftWithPhoto(system: System, customer: Customer): Promise<number> {
  const form = new FormData();
  form.set("file", new File([png({ length: 300_000 })], "photo.png"));
  const reply = await fetch(`${system.urlOf("gateway")}/api/media/upload.json`, {
    method: "POST",
    headers: { Authorization: `Bearer ${customer.session}` },
    body: form,
  });
  const { data } = (await reply.json()) as { data: { media: string } };
  const id = await customer.createBroadcast("Hello");
  const body = { id: String(id), statuses: "31", text: "*Look*, {user}", media: data.media, media_type: "1" };
  await system.rest(customer.session, "broadcast/edit.json", body);
  return id;
}

/** Ten leads of each bot. */
async function enterApproved(system: System, { bots }: Customer): Promise<void> {
  const [account] = await system.sql<{ id: number }[]>`SELECT id FROM account`;
  for (const [i, { campaignId }] of bots.entries()) {
    const leads = Array.from({ length: 10 }, (_, n) => ({
      chatId: BigInt(i * LEADS_PER_BOT + n + 1),
      status: LeadStatus.APPROVE,
      statusTime: timestampFromMs(Date.now()),
    }));
    await system.campaign.putLeads({ accountId: BigInt(account!.id), campaignId, leads });
  }
}
