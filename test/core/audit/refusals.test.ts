import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createAuditor } from "#services/core/audit/refusals.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { address, createCustomer, session, setup, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await setup();
});
afterAll(async () => await world?.[Symbol.asyncDispose]());
beforeEach(() => world.forget());

describe("a refused call", () => {
  test("leaves an entry for what it may not reach, also where it would only have read", async () => {
    const customer = await createCustomer(world);
    await world.forget();
    const other = { accountId: customer.accountId + 1_000n, broadcastId: customer.broadcastId };
    await world.gateway.broadcast.getBroadcast(other).catch(() => {});
    await world.gateway.broadcast.startBroadcast(other).catch(() => {});

    const common = { token: "gateway", session, address, accountId: Number(other.accountId), outcome: "not_yours" };
    const object = { kind: "broadcast", object: String(customer.broadcastId), calls: 1, changes: 0 };
    const rows = await world.entries();
    expect([...rows].sort((a, b) => (a.call < b.call ? -1 : 1))).toEqual([
      { ...common, ...object, call: "leadcast.broadcast.v1.BroadcastService/GetBroadcast" },
      { ...common, ...object, call: "leadcast.broadcast.v1.BroadcastService/StartBroadcast" },
    ]);
  });

  test("leaves one for a bad token of either kind, and for a token that may not", async () => {
    const { account } = world.clientsOf("narrow");
    await account.resolveSession({ token: "guessed" }).catch(() => {});
    await world
      .clientsOf("unknown")
      .account.getAccount({ accountId: 1n })
      .catch(() => {});
    await world.gateway.account.resolveSession({ token: "guessed" }).catch(() => {});

    const rows = await world.entries();
    expect(rows.map(({ token, outcome, address: from }) => [token, outcome, from]).sort()).toEqual([
      // Only the gateway is believed when it says for whom it calls.
      ["", "unauthenticated", "127.0.0.1"],
      ["gateway", "session_invalid", address],
      ["narrow", "forbidden", "127.0.0.1"],
    ]);
    expect(JSON.stringify(rows)).not.toContain("guessed");
  });

  test("leaves nothing where it was refused for anything else", async () => {
    const customer = await createCustomer(world);
    await world.forget();
    const { broadcast, account } = world.gateway;
    await broadcast
      .pauseBroadcast({ accountId: customer.accountId, broadcastId: customer.broadcastId })
      .catch(() => {});
    await account.getAccount({ accountId: -1n }).catch(() => {});

    expect(await world.entries()).toHaveLength(0);
  });
});

describe("createAuditor", () => {
  const refused = (from: string, reason: Reason = ErrorReason.NOT_YOURS) => ({
    rpc: "leadcast.account.v1.AccountService/GetAccount",
    message: {},
    caller: { token: "t", address: from, session: "" },
    reason,
  });

  test("writes 10 a minute and address, of an IPv6 customer's network too, and 600 in all", async () => {
    const database = await createTestDatabase();
    let now = 0;
    const clock = { ...systemClock, monotonicMs: () => now };
    const auditor = createAuditor({ sql: database.sql, clock, log: captureLog().log });
    const count = async () => {
      await auditor.flush();
      const [row] = await database.sql<{ n: number }[]>`SELECT count(*)::int AS n FROM audit_entry`;
      return row!.n;
    };
    for (let n = 0; n < 30; n++) auditor.refused(refused("192.0.2.1"));
    for (let n = 0; n < 30; n++) auditor.refused(refused(`2001:db8::${n.toString(16)}`));
    expect(await count()).toBe(20);

    for (let n = 0; n < 1_000; n++) auditor.refused(refused(`198.51.${n % 100}.${n >> 8}`));
    expect(await count()).toBe(600);

    now = 60_000;
    auditor.refused(refused("192.0.2.1"));
    expect(await count()).toBe(601);
    await database.drop();
  });

  test("goes on without the database, and complains of a change that left no entry", async () => {
    const database = await createTestDatabase();
    await database.drop();
    const captured = captureLog();
    const auditor = createAuditor({ sql: database.sql, clock: systemClock, log: captured.log });
    auditor.refused(refused("192.0.2.1"));
    await auditor.flush();
    auditor.succeeded({ ...refused(""), changes: true, ended: true });

    expect(captured.text()).toContain("a refusal could not be written into the audit log");
    expect(captured.text()).toContain("a call that may change something left no audit entry");
  });
});
