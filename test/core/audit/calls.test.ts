import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { DescMethod } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { addToMinute, type EntryFields } from "#services/core/audit/store.ts";
import { mayChange } from "#services/platform/rpc/call.ts";
import { rpcName } from "#services/platform/rpc/errors.ts";
import { png } from "#test/core/media/files.ts";
import { eventually } from "#test/support/eventually.ts";
import {
  address,
  type Clients,
  type Customer,
  chatId,
  createCustomer,
  services,
  session,
  setup,
  type World,
} from "./setup.ts";

let world: World;
let customer: Customer;
beforeAll(async () => {
  world = await setup();
});
afterAll(async () => await world?.[Symbol.asyncDispose]());
beforeEach(async () => {
  customer = await createCustomer(world);
  await world.forget();
});

interface Case {
  /** What goes before, and leaves no trace in the log that is looked at. */
  before?: (clients: Clients) => Promise<unknown>;
  call: (clients: Clients) => Promise<unknown>;
  /** What its entry says it was done to. */
  object: () => [kind: string, id: string | RegExp];
  /** Of no account: operators' calls, and tariffs. */
  ofNobody?: boolean;
  /** Default 1. */
  changes?: number;
  /** A repeated call changes nothing and leaves nothing; default: it does again. */
  onceOnly?: boolean;
}

const one = () => ({ accountId: customer.accountId, broadcastId: customer.broadcastId });
const leadRef = () => ({ accountId: customer.accountId, leadId: customer.leadId });
const broadcast = (): [string, string] => ["broadcast", String(customer.broadcastId)];
const bot = (): [string, string] => ["bot", String(customer.botId)];
const lead = (): [string, string] => ["lead", String(customer.leadId)];
const block = (): [string, string] => ["block", `${customer.campaignId}/2`];
const inCampaign = () => ({ accountId: customer.accountId, campaignId: customer.campaignId });
const start = ({ broadcast: calls }: Clients) => calls.startBroadcast(one());
const update = (text: object) => ({ botId: customer.botId, updateJson: JSON.stringify(text) });

/** One good call of each RPC that may change something. Whoever adds an RPC adds it here. */
const cases: Record<string, Case> = {
  "AccountService/PutTariff": {
    call: ({ account }) => account.putTariff({ tariff: { id: customer.tariffId, name: "Pro", broadcasts: true } }),
    object: () => ["tariff", String(customer.tariffId)],
    ofNobody: true,
  },
  "AccountService/PutAccount": {
    call: ({ account }) => account.putAccount({ account: { id: customer.accountId, tariffId: customer.tariffId } }),
    object: () => ["account", String(customer.accountId)],
  },
  "AccountService/CreateSession": {
    call: ({ account }) => account.createSession({ accountId: customer.accountId }),
    object: () => ["session", /^[0-9a-f]{16}$/],
  },
  "AccountService/RevokeSession": {
    call: async ({ account }) => {
      const { token } = await world.platform.account.createSession({ accountId: customer.accountId });
      await account.revokeSession({ token });
      await account.revokeSession({ token });
    },
    object: () => ["session", /^[0-9a-f]{16}$/],
  },
  "AccountService/RevokeSessions": {
    before: ({ account }) => account.createSession({ accountId: customer.accountId }),
    call: ({ account }) => account.revokeSessions({ accountId: customer.accountId }),
    object: () => ["account", String(customer.accountId)],
    onceOnly: true,
  },
  "CampaignService/PutBot": {
    call: ({ campaign }) => campaign.putBot({ bot: { id: customer.botId, accountId: customer.accountId } }),
    object: bot,
  },
  "CampaignService/PutCampaign": {
    call: ({ campaign }) =>
      campaign.putCampaign({
        campaign: { id: customer.campaignId, accountId: customer.accountId, botId: customer.botId, state: 1 },
      }),
    object: () => ["campaign", String(customer.campaignId)],
  },
  "CampaignService/SaveBlock": {
    call: ({ campaign }) => campaign.saveBlock({ ...inCampaign(), status: LeadStatus.APPROVE, text: "Hi" }),
    object: block,
  },
  "CampaignService/SendBlockToMyself": {
    before: ({ campaign }) => campaign.saveBlock({ ...inCampaign(), status: LeadStatus.APPROVE, text: "Hi" }),
    call: ({ campaign }) => campaign.sendBlockToMyself({ ...inCampaign(), status: LeadStatus.APPROVE }),
    object: block,
    onceOnly: true,
  },
  "CampaignService/PutLeads": {
    call: ({ campaign }) =>
      campaign.putLeads({ ...inCampaign(), leads: [1n, 2n, 3n].map((chat) => customer.lead(chat)) }),
    object: () => ["campaign", String(customer.campaignId)],
    changes: 3,
    onceOnly: true,
  },
  "CampaignService/SetLeadStatus": {
    call: ({ campaign }) =>
      campaign.setLeadStatus({ ...leadRef(), status: LeadStatus.HOLD, statusTime: timestampFromMs(5_000) }),
    object: () => ["campaign", String(customer.campaignId)],
    onceOnly: true,
  },
  "CampaignService/OptOutLead": {
    call: ({ campaign }) => campaign.optOutLead(leadRef()),
    object: lead,
    onceOnly: true,
  },
  "CampaignService/SetLeadReachable": {
    call: ({ campaign }) =>
      campaign.setLeadReachable({
        accountId: customer.accountId,
        botId: customer.botId,
        chatId,
        reachable: false,
        changeTime: timestampFromMs(Date.now()),
      }),
    object: bot,
    onceOnly: true,
  },
  "CampaignService/DeleteLead": {
    call: ({ campaign }) => campaign.deleteLead(leadRef()),
    object: lead,
    onceOnly: true,
  },
  "CampaignService/HandleUpdate": {
    call: ({ campaign }) =>
      campaign.handleUpdate(
        update({
          my_chat_member: { chat: { id: Number(chatId), type: "private" }, new_chat_member: { status: "kicked" } },
        }),
      ),
    object: bot,
    onceOnly: true,
  },
  "CampaignService/RotateWebhookSecret": {
    call: ({ campaign }) => campaign.rotateWebhookSecret({ accountId: customer.accountId, botId: customer.botId }),
    object: bot,
  },
  "CampaignService/ResealSecrets": {
    before: async () => {
      const sealed = world.oldBox.encrypt(customer.token, `bot:${customer.botId}`);
      await world.sql`UPDATE bot SET token_sealed = ${sealed} WHERE id = ${Number(customer.botId)}`;
    },
    call: ({ campaign }) => campaign.resealSecrets({}),
    object: () => ["secrets", ""],
    ofNobody: true,
    onceOnly: true,
  },
  "CampaignService/UploadMedia": {
    call: ({ campaign }) => campaign.uploadMedia({ accountId: customer.accountId, content: png() }),
    object: () => ["media", /^[\w-]{22}$/],
    onceOnly: true,
  },
  "BroadcastService/CreateBroadcast": {
    call: ({ broadcast: calls }) => calls.createBroadcast({ accountId: customer.accountId }),
    object: () => ["broadcast", /^\d+$/],
  },
  "BroadcastService/UpdateBroadcast": {
    call: ({ broadcast: calls }) => calls.updateBroadcast({ ...one(), name: "Other", body: { text: "Bye" } }),
    object: broadcast,
  },
  "BroadcastService/StartBroadcast": { call: start, object: broadcast, onceOnly: true },
  "BroadcastService/PauseBroadcast": {
    before: start,
    call: ({ broadcast: calls }) => calls.pauseBroadcast(one()),
    object: broadcast,
    onceOnly: true,
  },
  "BroadcastService/ResumeBroadcast": {
    before: async (clients) => {
      await start(clients);
      await clients.broadcast.pauseBroadcast(one());
    },
    call: ({ broadcast: calls }) => calls.resumeBroadcast(one()),
    object: broadcast,
    onceOnly: true,
  },
  "BroadcastService/CancelBroadcast": {
    before: start,
    call: ({ broadcast: calls }) => calls.cancelBroadcast(one()),
    object: broadcast,
    onceOnly: true,
  },
  "BroadcastService/ResetBroadcast": {
    before: async (clients) => {
      await start(clients);
      await clients.broadcast.cancelBroadcast(one());
    },
    call: ({ broadcast: calls }) => calls.resetBroadcast(one()),
    object: broadcast,
    onceOnly: true,
  },
  "BroadcastService/DeleteBroadcast": {
    call: ({ broadcast: calls }) => calls.deleteBroadcast(one()),
    object: broadcast,
    onceOnly: true,
  },
  "BroadcastService/SendBroadcastToMyself": {
    call: ({ broadcast: calls }) => calls.sendBroadcastToMyself(one()),
    object: broadcast,
    onceOnly: true,
  },
  "DeliveryService/SendPreview": {
    call: ({ delivery }) => delivery.sendPreview({ accountId: customer.accountId, chatId: 42n, text: "Hello" }),
    object: () => ["account", String(customer.accountId)],
    onceOnly: true,
  },
  "DeliveryService/SetWebhook": { call: ({ delivery }) => delivery.setWebhook({ botId: customer.botId }), object: bot },
  "DeliveryService/HoldBot": { call: ({ delivery }) => delivery.holdBot({ botId: customer.botId }), object: bot },
  "DeliveryService/HoldAll": {
    call: ({ delivery }) => delivery.holdAll({}),
    object: () => ["bot", "0"],
    ofNobody: true,
  },
  "DeliveryService/Release": {
    before: ({ delivery }) => delivery.holdBot({ botId: customer.botId }),
    call: ({ delivery }) => delivery.release({ botId: customer.botId }),
    object: bot,
    onceOnly: true,
  },
  "DeliveryService/RebuildStream": {
    call: ({ delivery }) => delivery.rebuildStream({}),
    object: () => ["stream", ""],
    ofNobody: true,
  },
  "DeliveryService/AcceptRestore": {
    before: async (clients) => {
      await world.sql`UPDATE broadcast SET state = 3 WHERE account_id <> ${Number(customer.accountId)}`;
      await world.sql`INSERT INTO database_identity (id, identity) VALUES (1, 'another') ON CONFLICT DO NOTHING`;
      await start(clients);
    },
    call: ({ delivery }) => delivery.acceptRestore({}),
    object: () => ["bot", "0"],
    ofNobody: true,
    // The queued send that became unconfirmed, and the identity.
    changes: 2,
  },
};

const shortName = (method: DescMethod) => `${method.parent.name}/${method.name}`;
const methods = services.flatMap((service) => service.methods.filter(mayChange));

/** Entries of one call, its rows added up as readers do. */
async function entriesOf(rpc: string) {
  const rows = (await world.entries()).filter((row) => row.call === rpc);
  const changes = rows.reduce((sum, row) => sum + row.changes, 0);
  const calls = rows.reduce((sum, row) => sum + row.calls, 0);
  return { first: rows[0], calls, changes, outcomes: [...new Set(rows.map((row) => row.outcome))] };
}

/** What the log says of calls that changed something without an entry. */
const complaints = () =>
  world.log
    .text()
    .split("\n")
    .filter((line) => line.includes("left no audit entry"));

describe("each call that may change something", () => {
  test("is known to this test, and is one request with one reply", () => {
    expect(Object.keys(cases).sort()).toEqual(methods.map(shortName).sort());
    for (const method of methods) expect([shortName(method), method.methodKind]).toEqual([shortName(method), "unary"]);
  });

  for (const method of methods) {
    test(`leaves an entry: ${shortName(method)}`, async () => {
      const { before, call, object, ofNobody, changes = 1, onceOnly } = cases[shortName(method)]!;
      await before?.(world.platform);
      await world.forget();

      await call(world.gateway);

      const left = await entriesOf(rpcName(method));
      const [kind, id] = object();
      expect(left).toMatchObject({ calls: 1, changes, outcomes: ["ok"] });
      expect(left.first).toMatchObject({
        token: "gateway",
        session,
        address,
        accountId: ofNobody ? null : Number(customer.accountId),
        kind,
        object: typeof id === "string" ? id : expect.stringMatching(id),
      });

      if (onceOnly) await call(world.gateway).catch(() => {});
      const again = await entriesOf(rpcName(method));
      if (onceOnly) expect(again.calls - (again.outcomes.includes("not_yours") ? 1 : 0)).toBe(1);
      expect(complaints()).toEqual([]);
    });
  }
});

describe("an entry", () => {
  test("is not left by a call that is refused, or that changes nothing", async () => {
    const { broadcast: calls, campaign, delivery } = world.platform;
    await calls.pauseBroadcast(one()).catch(() => {});
    await calls.updateBroadcast({ ...one(), body: { text: "*" } }).catch(() => {});
    await world.sql`UPDATE lead SET unreachable = 1 WHERE id = ${Number(customer.leadId)}`;
    expect((await calls.startBroadcast(one())).queued).toBe(0n);
    await campaign.putLeads({ ...inCampaign(), leads: [customer.lead(chatId, 10)] });
    await campaign.handleUpdate(update({ message: { chat: { id: 5, type: "private" } } }));
    await campaign.handleUpdate(update({ callback_query: { id: "1", data: "other", from: { id: 5 } } }));
    await delivery.release({ botId: customer.botId });
    await calls.getBroadcast(one());

    expect(await world.entries()).toHaveLength(0);
    expect(complaints()).toEqual([]);
  });

  test("goes with its change: where one of them fails, neither is there", async () => {
    await world.sql`ALTER TABLE audit_entry ADD CONSTRAINT full_disk CHECK (call NOT LIKE '%PutLeads') NOT VALID`;
    try {
      const failed = world.platform.campaign.putLeads({ ...inCampaign(), leads: [customer.lead(77n)] });
      await expect(failed).rejects.toThrow();
      expect(await world.sql`SELECT 1 FROM lead WHERE chat_id = 77`).toHaveLength(0);
    } finally {
      await world.sql`ALTER TABLE audit_entry DROP CONSTRAINT full_disk`;
    }
  });

  test("holds neither chats nor names nor texts nor tokens", async () => {
    for (const { before, call } of Object.values(cases)) {
      customer = await createCustomer(world);
      await before?.(world.platform);
      await call(world.gateway);
    }
    const text = JSON.stringify(await world.entries());
    for (const needle of [String(chatId), customer.token, "Hello", "Sale", "ada_bot", "secret-of-the-tests"]) {
      expect(text).not.toContain(needle);
    }
  });

  test("of importers is one a token, campaign and minute, and importers never wait for each other's", async () => {
    const { campaign } = world.platform;
    const put = (chat: number) => campaign.putLeads({ ...inCampaign(), leads: [customer.lead(BigInt(chat))] });
    await put(1_000);
    const [row] = await world.sql<(EntryFields & { id: string })[]>`
      SELECT id, token, session, coalesce(address, '') AS address, account_id AS "accountId", call, outcome, 0 AS changes
      FROM audit_entry`;
    const object = { kind: "campaign", id: String(customer.campaignId) } as const;
    await world.sql.begin(async (tx) => {
      // An importer that has written its part of the entry, and does not commit.
      await addToMinute(tx, { ...row!, object });
      await Promise.all(Array.from({ length: 7 }, (_, n) => put(1_001 + n)));
    });

    const { entries } = await world.platform.account.listAuditEntries({ accountId: customer.accountId });
    const sums = entries.map(({ calls, changes }) => ({ calls, changes }));
    // Two where a minute has ended meanwhile.
    expect(sums.length).toBeLessThanOrEqual(2);
    expect(sums.reduce((sum, entry) => sum + entry.calls, 0)).toBe(9);
    expect(sums.reduce((sum, entry) => sum + Number(entry.changes), 0)).toBe(8);
  });

  test("of what is done outside of the database says how that went", async () => {
    await world.sandbox.stop();
    await world.platform.delivery.setWebhook({ botId: customer.botId }).catch(() => {});
    await eventually(async () => (await world.entries()).some(({ outcome }) => outcome === "unknown"));
    await world.forget();
    await world.platform.delivery.setWebhook({ botId: 999_999n }).catch(() => {});

    expect((await world.entries()).map(({ outcome }) => outcome)).toEqual(["not_yours"]);
  });
});
