import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { createDatabase, migrate } from "#services/core/database/client.ts";
import { claimSends } from "#services/core/ledger/claim.ts";
import { acceptRestore, RestoreGuard } from "#services/delivery/restore.ts";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { eventually } from "../support/eventually.ts";
import { allLeases, createWorld, DELIVERY_ROLE } from "../support/world.ts";

/** A cluster that is copied and promoted while its test runs. */
async function startCluster() {
  const folder = mkdtempSync(join(tmpdir(), "leadcast-test-"));
  const options = { dataDir: folder, logPath: join(folder, "postgres.log"), settings: { fsync: "off" } };
  let server: EmbeddedPostgres = await startPostgres(options);
  await migrate(server.url);
  const connect = () => createDatabase({ url: server.url, applicationName: "test" });
  return {
    connect,
    /** What a failover does: the same data, on a replica that has become the primary. No checkpoint yet. */
    failOver: async () => {
      await server.stop();
      writeFileSync(join(folder, "cluster/standby.signal"), "");
      server = await startPostgres(options);
      const { sql, close } = connect();
      await sql`SELECT pg_promote(wait => true)`;
      await eventually(async () => !(await sql`SELECT pg_is_in_recovery() AS standby`)[0]!.standby);
      await close();
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describe("a failover under running delivery", () => {
  let cluster: Awaited<ReturnType<typeof startCluster>>;
  beforeAll(async () => {
    cluster = await startCluster();
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test.each([
    ["with unconfirmed where something may be lost", false],
    ["with everything queued where nothing was lost", true],
  ])("claims nothing from the new primary, is held within a look, and goes on %s", async (_, nothingLost) => {
    const before = cluster.connect();
    const guard = new RestoreGuard(before.sql);
    expect(await guard.check()).toBe(false);
    const { accountId, addBroadcast, jobs } = await createWorld(before.sql, { leads: 4 });
    const id = await addBroadcast();
    await startBroadcast(before.sql, accountId, id);
    const queued = await jobs(id);
    await before.close();

    await cluster.failOver();

    await using after = { ...cluster.connect(), [Symbol.asyncDispose]: () => after.close() };
    const claim = async (timeline: number | undefined) => {
      const rescueMs = { text: 15_000, media: 65_000 };
      const answers = await claimSends(queued, {
        sql: after.sql,
        role: DELIVERY_ROLE,
        leases: allLeases,
        rescueMs,
        timeline,
      });
      return answers.map((answer) => (answer.outcome === "wait" ? answer.reason : answer.outcome));
    };
    expect(await claim(guard.timeline)).toEqual(Array(4).fill("lease"));
    const next = new RestoreGuard(after.sql);
    expect(await next.check()).toBe(true);
    expect(await claim(undefined)).toEqual(Array(4).fill("bot"));
    await after.sql`DELETE FROM lane`;
    expect(await next.check()).toBe(true);
    expect(await claim(undefined)).toEqual(Array(4).fill("bot"));

    expect(await acceptRestore(after.sql, { nothingLost })).toBe(nothingLost ? 0 : 4);

    expect(await next.check()).toBe(false);
    expect(await claim(next.timeline)).toEqual(Array(4).fill(nothingLost ? "claimed" : "stale"));
  });
});
