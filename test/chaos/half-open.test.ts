import { describe, expect, test } from "bun:test";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { check, keepDeletedRows } from "./checker.ts";
import { startCluster } from "./cluster.ts";
import { Keeper } from "./keeper.ts";
import { createOwner, DONE, Tags } from "./owner.ts";

/** To notice, to take the leases again, and to publish and pace the first messages. */
const GOES_ON_MS = 15_000;

describe("a broadcast whose replicas' connections to Postgres all become half-open", () => {
  test("goes on by itself within fifteen seconds, and ends with every lead accounted for", async () => {
    const cluster = await startCluster({ delivery: 1, broadcast: 1, ownPostgres: false });
    const keeper = new Keeper(cluster, { arm: () => "", freezeMs: () => 0 });
    try {
      await keepDeletedRows(cluster.sql);
      const tags = new Tags();
      const owner = await createOwner(cluster, tags, {
        botIds: [1, 2],
        leadsPerBot: 250,
        messagesPerSecond: 50,
        dailyCap: 0,
        firstChat: 1,
      });
      const accepted = async () => (await cluster.sandbox.totals()).accepted;
      const id = await owner.createBroadcast();
      await owner.start(id);
      await eventually(async () => (await accepted()) > 150);

      const postgres = [cluster.proxies["delivery-postgres"], cluster.proxies["relay-postgres"]];
      for (const proxy of postgres) proxy.halfOpen();
      const halfOpenAt = performance.now();
      await keeper.noteCut();
      const stalledAt = await untilStill(accepted);
      await eventually(async () => (await accepted()) > stalledAt, { timeoutMs: GOES_ON_MS });
      expect(performance.now() - halfOpenAt).toBeLessThan(GOES_ON_MS);

      await eventually(async () => (await owner.stateOf(id))?.state === DONE, { timeoutMs: 60_000 });
      const { openAtKills, openAtCuts } = keeper;
      const { sql, sandbox } = cluster;
      const { figures, violations } = await check({ sql, sandbox, tags: tags.sources, openAtKills, openAtCuts });
      expect(violations).toEqual([]);
      expect(figures).toMatchObject({ leads: 500, messagedTwice: 0, acceptedWithoutRecord: 0, sentNotAccepted: 0 });
      expect(figures.sent + figures.unconfirmed).toBe(500);
      await expectConsistent(cluster.sql);
      expect(keeper.crashes).toEqual([]);
    } finally {
      await keeper.stop();
      await cluster.stop();
    }
  }, 120_000);
});

/** Waits until a second has passed in which the number stayed what it is. */
async function untilStill(count: () => Promise<number>): Promise<number> {
  let [last, since] = [await count(), performance.now()];
  await eventually(async () => {
    const next = await count();
    if (next !== last) [last, since] = [next, performance.now()];
    return performance.now() - since > 1_000;
  });
  return last;
}
