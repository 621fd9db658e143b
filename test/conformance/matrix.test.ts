import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { DescMethod } from "@bufbuild/protobuf";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { png } from "#test/core/media/files.ts";
import { freshBotToken } from "#test/support/bot-token.ts";
import type { CallName } from "./api.ts";
import { createCustomer } from "./customer.ts";
import { fingerprintOf } from "./dump.ts";
import { type RpcField, restFields, rpcFields } from "./matrix.ts";
import { goodFields, goodRequests, type Owner, type Request } from "./matrix-requests.ts";
import { createRestApi, envelopeOf, requestOf } from "./rest-api.ts";
import { type Clients, createStack, type Stack } from "./stack.ts";

/** Whose a value is. `garbage` is refused by its looks alone. */
type Whose = "another's" | "absent" | "deleted" | "garbage";

/** What the matrix expects of a field, by kind; what is left out is not asked, and the reason stands beside the entry. */
type Expected = Partial<Record<Whose, "access" | "func" | "ok">>;

const owned: Expected = { "another's": "access", absent: "access", deleted: "access", garbage: "func" };
const undeletable: Expected = { "another's": "access", absent: "access", garbage: "func" };
const refs: Expected = { "another's": "func", absent: "func", deleted: "func", garbage: "func" };

/** What each name stands for. A field with another name fails the first test below. */
const byName: Record<string, { resource: string; expected: Expected }> = {
  // Accounts are never deleted.
  accountId: { resource: "account", expected: undeletable },
  campaignId: { resource: "campaign", expected: owned },
  campaignIds: { resource: "campaign", expected: owned },
  broadcastId: { resource: "broadcast", expected: owned },
  leadId: { resource: "lead", expected: owned },
  // Bots are never deleted.
  botId: { resource: "bot", expected: undeletable },
  media: { resource: "media", expected: refs },
  // Where a page begins: any number is a place, whoever has the row.
  beforeId: { resource: "page", expected: {} },
};

/** An account's own lists: another account's id is that account's request, which a service may make. */
const identity: Expected = { absent: "access", garbage: "func" };
/** A person or group at Telegram, whom we cannot know: any number of its form is one. */
const chat: Expected = { garbage: "func" };
/** An upsert: an id that is not there is assigned, and 0 asks for one. */
const upsert: Expected = { "another's": "access", absent: "ok" };

const special: Record<string, { resource: string; expected: Expected }> = {
  "AccountService.PutTariff tariff.id": { resource: "tariff", expected: { absent: "ok" } },
  "AccountService.PutAccount account.id": { resource: "account", expected: { absent: "ok" } },
  "AccountService.PutAccount account.tariffId": { resource: "tariff", expected: { absent: "func", garbage: "func" } },
  "AccountService.PutAccount account.telegramChatId": { resource: "chat", expected: {} },
  "AccountService.GetAccount accountId": { resource: "account", expected: identity },
  "AccountService.CreateSession accountId": { resource: "account", expected: identity },
  "AccountService.ListSessions accountId": { resource: "account", expected: identity },
  "AccountService.RevokeSessions accountId": { resource: "account", expected: identity },
  // Operators look at every account's, and at all of them by 0.
  "AccountService.ListAuditEntries accountId": { resource: "account", expected: {} },
  "CampaignService.PutBot bot.id": { resource: "bot", expected: upsert },
  "CampaignService.PutCampaign campaign.id": { resource: "campaign", expected: upsert },
  "CampaignService.PutCampaign campaign.trackedChatId": { resource: "chat", expected: {} },
  "CampaignService.ListCampaigns accountId": { resource: "account", expected: identity },
  "CampaignService.UploadMedia accountId": { resource: "account", expected: identity },
  "CampaignService.PutLeads leads.id": { resource: "lead", expected: { "another's": "func", absent: "ok" } },
  "CampaignService.PutLeads leads.chatId": { resource: "chat", expected: chat },
  "CampaignService.SetLeadReachable chatId": { resource: "chat", expected: chat },
  "BroadcastService.ListBroadcasts accountId": { resource: "account", expected: identity },
  "BroadcastService.CreateBroadcast accountId": { resource: "account", expected: identity },
  "BroadcastService.GetQuota accountId": { resource: "account", expected: identity },
  // The account only says whose turn it is: campaign and broadcast have checked it, and nobody else may call this.
  "DeliveryService.SendPreview accountId": { resource: "account", expected: { garbage: "func" } },
  "DeliveryService.SendPreview chatId": { resource: "chat", expected: chat },
  // Operators work on every bot, and on all of them by 0.
  "DeliveryService.SetWebhook botId": { resource: "bot", expected: { absent: "access", garbage: "func" } },
  "DeliveryService.HoldBot botId": { resource: "bot", expected: { absent: "access", garbage: "func" } },
  "DeliveryService.Release botId": { resource: "bot", expected: {} },
};

const nameOf = ({ rpc, path }: RpcField): string => `${rpc} ${path.join(".")}`;
const specOf = (found: RpcField) => special[nameOf(found)] ?? byName[found.path.at(-1)!];

const absentId = 8_000_000_000;
const garbageIds = [0n, -1n, 2n ** 53n];
const garbageTexts = ["0", "-1", "9007199254740992", "abc", "1e3", "", "1 ", "٣"];
const garbageRefs = ["", "x".repeat(65), "../etc/passwd", "%00", "<script>"];

let stack: Stack;
let own: Owner;
let theirs: Owner;
/** Values by resource and whose they are. */
let values: Record<string, Partial<Record<Whose, readonly (bigint | string)[]>>>;

beforeAll(async () => {
  stack = await createStack({ relays: 0 });
  own = await createOwner(1);
  theirs = await createOwner(2);
  values = await collectValues();
});
afterAll(() => stack.stop());

async function createOwner(seed: number): Promise<Owner> {
  const customer = await createCustomer(stack, { campaigns: 3 });
  const api = createRestApi(stack.gateway, customer.session);
  const { media } = await api.ok("POST media/upload", { file: png({ seed: 1000 + seed }) });
  const [bot] = await stack.sql<{ sealed: string }[]>`
    SELECT webhook_secret_sealed AS sealed FROM bot WHERE id = ${customer.botId}`;
  const webhookSecret = stack.secretBox.decrypt(bot!.sealed, `webhook:${customer.botId}`);
  return { stack, customer, api, media: String(media), webhookSecret };
}

async function collectValues(): Promise<typeof values> {
  const gone = own.customer.campaignIds[2]!;
  await own.customer.deleteCampaign(gone);
  const deleted = await own.api.draft();
  await own.api.ok("POST broadcast/del", { id: deleted });
  const { accountId } = own.customer;
  const leadId = own.customer.leadIds[2]!;
  await stack.platform.campaign.deleteLead({ accountId, leadId: BigInt(leadId) });
  const lost = await own.api.ok("POST media/upload", { file: png({ seed: 2000 }) });
  await stack.sql`DELETE FROM media WHERE ref = ${String(lost.media)}`;
  const { tariff } = await stack.platform.account.getAccount({ accountId: theirs.customer.accountId });
  const ids = (another: number | bigint, erased?: number) => ({
    "another's": [BigInt(another)],
    absent: [BigInt(absentId)],
    ...(erased !== undefined && { deleted: [BigInt(erased)] }),
    garbage: garbageIds,
  });
  return {
    account: ids(theirs.customer.accountId),
    tariff: ids(tariff!.id),
    campaign: ids(theirs.customer.campaignId, gone),
    broadcast: ids(await theirs.api.draft(), deleted),
    lead: ids(theirs.customer.leadIds[0]!, leadId),
    bot: ids(theirs.customer.botId),
    chat: { garbage: garbageIds },
    media: {
      "another's": [theirs.media],
      absent: ["no-such-ref"],
      deleted: [String(lost.media)],
      garbage: garbageRefs,
    },
  };
}

/** The request with that value in that field; lists and the messages in them get it in their first place. */
function withValue(request: unknown, [name, ...inner]: readonly string[], value: unknown): Request {
  const copy = { ...(request as Request) };
  const old = copy[name!];
  const next = (member: unknown) => (inner.length === 0 ? value : withValue(member, inner, value));
  copy[name!] = Array.isArray(old) ? [next(old[0])] : next(old);
  return copy;
}

interface Answer {
  code: "ok" | "access" | "func" | string;
  message: string;
}

async function callRpc(clients: Clients, method: DescMethod, request: Request): Promise<Answer> {
  const client = clients[method.parent.name.replace("Service", "").toLowerCase() as keyof Clients];
  const call = (client as unknown as Record<string, (request: Request, options?: object) => unknown>)[
    method.localName
  ]!;
  try {
    if (method.methodKind === "unary") await call(request);
    else await firstOf(call, request);
    return { code: "ok", message: "" };
  } catch (error) {
    const { reason, message } = reasonFromError(error);
    const codes: Partial<Record<ErrorReason, string>> = {
      [ErrorReason.NOT_YOURS]: "access",
      [ErrorReason.INVALID_ARGUMENT]: "func",
    };
    return { code: codes[reason] ?? ErrorReason[reason], message };
  }
}

async function firstOf(call: (request: Request, options?: object) => unknown, request: Request): Promise<void> {
  const over = new AbortController();
  const stream = call(request, { signal: over.signal }) as AsyncIterable<unknown>;
  for await (const _ of stream) break;
  over.abort();
}

const everything = () => fingerprintOf(stack.sql, [own.customer.accountId, theirs.customer.accountId]);

describe("the matrix of ids", () => {
  test("knows every id of every RPC and endpoint", () => {
    expect(
      rpcFields()
        .filter((found) => !specOf(found))
        .map(nameOf),
    ).toEqual([]);
    expect(
      rpcFields()
        .filter(({ rpc }) => !goodRequests[rpc])
        .map(nameOf),
    ).toEqual([]);
    expect(restFields().filter((field) => !goodFields[endpointOf(field)])).toEqual([]);
  });

  test("has no entry for what is gone", () => {
    const names = new Set(rpcFields().map(nameOf));
    expect(Object.keys(special).filter((name) => !names.has(name))).toEqual([]);
  });
});

describe("by RPC", () => {
  const rpcs = Map.groupBy(rpcFields(), ({ rpc }) => rpc);
  for (const [rpc, fields] of rpcs) {
    test(`${rpc} takes the account's own ids`, async () => {
      const answer = await callRpc(stack.platform, fields[0]!.method, await goodRequests[rpc]!(own));
      // A webhook needs an address of ours that Telegram can reach, and there is none here.
      expect(answer).toEqual(
        /\.(SetWebhook|RotateWebhookSecret)$/.test(rpc)
          ? expect.objectContaining({ code: "NOT_SET_UP" })
          : { code: "ok", message: "" },
      );
      await own.customer.hold();
    });
  }

  for (const found of rpcFields()) {
    const spec = specOf(found);
    const kinds = Object.entries(spec?.expected ?? {}) as [Whose, string][];
    if (kinds.length === 0) continue;
    test(`${nameOf(found)}: ${kinds.map(([whose, code]) => `${whose} gives ${code}`).join(", ")}`, async () => {
      const request = await goodRequests[found.rpc]!(own);
      const before = await everything();
      const told = new Map<Whose, string>();
      for (const [whose, code] of kinds.filter(([, expected]) => expected !== "ok")) {
        for (const value of values[spec!.resource]![whose] ?? []) {
          const answer = await callRpc(stack.platform, found.method, withValue(request, found.path, value));
          expect([whose, value, answer.code, answer.message]).toEqual([
            whose,
            value,
            code,
            expect.stringMatching(/.{8}/),
          ]);
          if (whose !== "garbage") told.set(whose, answer.message);
        }
      }
      // Whose account it is, is the caller's to say and no secret; of all other ids nobody learns whether they exist.
      if (spec!.resource !== "account") expect(new Set(told.values()).size).toBeLessThanOrEqual(1);
      expect(await everything()).toBe(before);
    });
  }

  test("ids of their own choice are taken by the Puts where nobody has them", async () => {
    const open = rpcFields().filter((found) => specOf(found)?.expected.absent === "ok");
    expect(open.length).toBeGreaterThan(0);
    for (const [i, found] of open.entries()) {
      const good = await goodRequests[found.rpc]!(own);
      // A bot is its number: another row needs another one.
      const request =
        found.rpc === "CampaignService.PutBot" ? withValue(good, ["bot", "token"], freshBotToken()) : good;
      const answer = await callRpc(
        stack.platform,
        found.method,
        withValue(request, found.path, BigInt(absentId + 1 + i)),
      );
      expect([nameOf(found), answer.code]).toEqual([nameOf(found), "ok"]);
    }
  });
});

const endpointOf = (field: string): string => field.slice(0, field.lastIndexOf(" "));

describe("by REST", () => {
  const call = async (endpoint: string, fields: Record<string, string | number>) => {
    const name = endpoint.replace("/api/", "").replace(".json", "") as CallName;
    const { status, error, message } = await envelopeOf(
      await stack.gateway.handle(requestOf(name, fields, own.customer.session)),
    );
    return { code: status === "ok" ? "ok" : error!, message: message ?? "" };
  };

  for (const endpoint of new Set(restFields().map(endpointOf))) {
    test(`${endpoint} takes the account's own ids`, async () => {
      expect(await call(endpoint, await goodFields[endpoint]!(own))).toEqual({ code: "ok", message: "" });
    });
  }

  for (const field of restFields()) {
    const endpoint = endpointOf(field);
    const name = field.slice(endpoint.length + 1);
    test(`${field}: another's, absent and deleted are refused in the same words, garbage with func`, async () => {
      const resource =
        name === "media" ? "media" : endpoint.includes("/camp/") || name === "campaigns" ? "campaign" : "broadcast";
      const fields = await goodFields[endpoint]!(own);
      const before = await everything();
      const refusals = new Set<string>();
      for (const whose of ["another's", "absent", "deleted"] as const) {
        for (const value of values[resource]![whose]!) {
          const answer = await call(endpoint, { ...fields, [name]: String(value) });
          expect([whose, answer.code]).toEqual([whose, name === "media" ? "func" : "access"]);
          refusals.add(answer.message);
        }
      }
      expect(refusals.size).toBe(1);
      // No campaigns are all campaigns.
      const garbage =
        name === "media" ? garbageRefs : garbageTexts.filter((text) => name !== "campaigns" || text !== "");
      for (const value of garbage) {
        const answer = await call(endpoint, { ...fields, [name]: value });
        expect([value, answer.code, answer.message]).toEqual([value, "func", expect.stringMatching(/.{8}/)]);
      }
      expect(await everything()).toBe(before);
    });
  }
});
