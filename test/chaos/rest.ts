/** Waits for a system to have taken its work up, and to have come to rest. */
import type { Cluster } from "./cluster.ts";

/** Resolves when each replica holds its share of the shards. */
export async function untilShared({ sql, deliveries, broadcasts }: Cluster): Promise<void> {
  for (;;) {
    const [row] = await sql<{ relays: number; deliveries: number }[]>`
      SELECT count(DISTINCT owner) FILTER (WHERE role = 1)::int AS relays,
        count(DISTINCT owner) FILTER (WHERE role = 2)::int AS deliveries FROM shard_lease`;
    if (row!.relays === broadcasts.length && row!.deliveries === deliveries.length) return;
    await Bun.sleep(50);
  }
}

/** @returns whether `ended` came to hold with nothing on the wire, within that time. */
export async function untilRest(
  { sql }: Cluster,
  ended: () => Promise<boolean>,
  { timeoutMs }: { timeoutMs: number },
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    const [row] = await sql<{ open: number }[]>`SELECT count(*)::int AS open FROM send WHERE state = 1`;
    if ((await ended()) && row!.open === 0) return true;
    await Bun.sleep(100);
  }
  return false;
}
