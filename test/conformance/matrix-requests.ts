/** A request that is accepted for every call that names a row: what the matrix puts its ids into. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { png } from "#test/core/media/files.ts";
import type { Api } from "./api.ts";
import type { Customer } from "./customer.ts";
import type { Stack } from "./stack.ts";

export interface Owner {
  stack: Stack;
  customer: Customer;
  api: Api;
  /** A ref that the account has uploaded. */
  media: string;
  webhookSecret: string;
}

export type Request = Record<string, unknown>;
type Good = (owner: Owner) => Promise<Request> | Request;

const account: Good = ({ customer }) => ({ accountId: customer.accountId });
const campaign: Good = (owner) => ({ ...account(owner), campaignId: BigInt(owner.customer.campaignId) });

async function draft({ api, customer }: Owner): Promise<Request> {
  return { accountId: customer.accountId, broadcastId: BigInt(await api.draft()) };
}

async function running({ api, customer }: Owner): Promise<Request> {
  return { accountId: customer.accountId, broadcastId: BigInt(await api.running()) };
}

async function after(action: "pause" | "cancel", owner: Owner): Promise<Request> {
  const request = await running(owner);
  await owner.api.ok(`POST broadcast/${action}`, { id: Number(request.broadcastId) });
  return request;
}

/** The preview's turn is given back, so that no preview is refused for coming too soon. */
async function rested({ stack, customer }: Owner): Promise<void> {
  await stack.sql`DELETE FROM preview_turn WHERE account_id = ${Number(customer.accountId)}`;
}

let nextChat = 3_000_000_000;

async function lead({ customer }: Owner): Promise<Request> {
  const [leadId] = await customer.putLeads(1, { from: nextChat++ - customer.firstChat });
  return { accountId: customer.accountId, leadId: BigInt(leadId!) };
}

async function tariffOf({ stack, customer }: Owner) {
  return await stack.platform.account.getAccount({ accountId: customer.accountId });
}

export const goodRequests: Record<string, Good> = {
  "AccountService.PutTariff": async (owner) => ({ tariff: { ...(await tariffOf(owner)).tariff! } }),
  "AccountService.PutAccount": async (owner) => ({ account: { ...(await tariffOf(owner)).account! } }),
  "AccountService.GetAccount": account,
  "AccountService.CreateSession": account,
  "AccountService.ListSessions": account,
  // One that nobody has: the owner goes on with theirs.
  "AccountService.RevokeSessions": (owner) => ({ ...account(owner), sessionIds: ["0".repeat(16)] }),
  "AccountService.ListAuditEntries": account,
  "CampaignService.PutBot": ({ customer }) => ({
    bot: { id: BigInt(customer.botId), accountId: customer.accountId, token: customer.botToken, username: "shop_bot" },
  }),
  "CampaignService.PutCampaign": ({ customer }) => ({
    campaign: {
      id: BigInt(customer.campaignId),
      accountId: customer.accountId,
      botId: BigInt(customer.botId),
      name: "Campaign 0",
      code: "C0",
      trackedChatId: 5n,
    },
  }),
  "CampaignService.ListCampaigns": account,
  "CampaignService.ListBlocks": campaign,
  "CampaignService.SaveBlock": (owner) => ({
    ...campaign(owner),
    status: 1,
    text: "T",
    media: owner.media,
    mediaType: 1,
  }),
  "CampaignService.SendBlockToMyself": async (owner) => {
    await rested(owner);
    await owner.api.ok("POST camp/broadcast", { id: owner.customer.campaignId, status: 4, text: "Preview" });
    return { ...campaign(owner), status: 5 };
  },
  "CampaignService.PutLeads": (owner) => ({
    ...campaign(owner),
    leads: [{ chatId: BigInt(nextChat++), status: 1, statusTime: timestampFromMs(0) }],
  }),
  "CampaignService.SetLeadStatus": async (owner) => ({
    ...(await lead(owner)),
    status: 2,
    statusTime: timestampFromMs(Date.now()),
  }),
  "CampaignService.OptOutLead": lead,
  "CampaignService.SetLeadReachable": ({ customer }) => ({
    accountId: customer.accountId,
    botId: BigInt(customer.botId),
    chatId: BigInt(customer.firstChat),
    reachable: true,
    changeTime: timestampFromMs(Date.now()),
  }),
  "CampaignService.DeleteLead": lead,
  "CampaignService.HandleUpdate": ({ customer, webhookSecret }) => ({
    botId: BigInt(customer.botId),
    updateJson: '{"update_id":1}',
    webhookSecret,
  }),
  "CampaignService.RotateWebhookSecret": ({ customer }) => ({
    accountId: customer.accountId,
    botId: BigInt(customer.botId),
  }),
  "CampaignService.UploadMedia": (owner) => ({ ...account(owner), content: png({ seed: 77 }) }),
  "BroadcastService.ListBroadcasts": account,
  "BroadcastService.GetBroadcast": draft,
  "BroadcastService.CreateBroadcast": account,
  "BroadcastService.UpdateBroadcast": async (owner) => ({
    ...(await draft(owner)),
    audience: { statuses: [1], campaignIds: [BigInt(owner.customer.campaignId)] },
    body: { text: "T", media: owner.media, mediaType: 1 },
  }),
  "BroadcastService.StartBroadcast": draft,
  "BroadcastService.PauseBroadcast": running,
  "BroadcastService.ResumeBroadcast": (owner) => after("pause", owner),
  "BroadcastService.CancelBroadcast": running,
  "BroadcastService.ResetBroadcast": (owner) => after("cancel", owner),
  "BroadcastService.DeleteBroadcast": draft,
  "BroadcastService.SendBroadcastToMyself": async (owner) => {
    await rested(owner);
    return await draft(owner);
  },
  "BroadcastService.GetQuota": account,
  "BroadcastService.GetProgress": draft,
  "BroadcastService.WatchBroadcast": running,
  "DeliveryService.SendPreview": async (owner) => {
    await rested(owner);
    return { ...account(owner), chatId: BigInt(owner.customer.telegramChatId), text: "T" };
  },
  "DeliveryService.SetWebhook": ({ customer }) => ({ botId: BigInt(customer.botId) }),
  "DeliveryService.HoldBot": ({ customer }) => ({ botId: BigInt(customer.botId), message: "held" }),
  "DeliveryService.Release": ({ customer }) => ({ botId: BigInt(customer.botId) }),
};

type Fields = Record<string, string | number>;
type GoodFields = (owner: Owner) => Promise<Fields> | Fields;

const restDraft: GoodFields = async ({ api }) => ({ id: await api.draft() });
const restRunning: GoodFields = async ({ api }) => ({ id: await api.running() });
const restAfter =
  (action: "pause" | "cancel"): GoodFields =>
  async (owner) => ({ id: Number((await after(action, owner)).broadcastId) });

export const goodFields: Record<string, GoodFields> = {
  "GET /api/camp/broadcast.json": ({ customer }) => ({ id: customer.campaignId }),
  "POST /api/camp/broadcast.json": ({ customer, media }) => ({
    id: customer.campaignId,
    status: 0,
    text: "T",
    media,
    media_type: 1,
  }),
  "POST /api/camp/btest.json": async (owner) => {
    await rested(owner);
    await owner.api.ok("POST camp/broadcast", { id: owner.customer.campaignId, status: 4, text: "Preview" });
    return { id: owner.customer.campaignId, status: 4 };
  },
  "GET /api/broadcast/get.json": restDraft,
  "GET /api/broadcast/progress.json": restDraft,
  "POST /api/broadcast/edit.json": async (owner) => ({
    ...(await restDraft(owner)),
    text: "T",
    campaigns: owner.customer.campaignId,
    media: owner.media,
    media_type: 1,
  }),
  "POST /api/broadcast/start.json": restDraft,
  "POST /api/broadcast/pause.json": restRunning,
  "POST /api/broadcast/resume.json": restAfter("pause"),
  "POST /api/broadcast/cancel.json": restRunning,
  "POST /api/broadcast/reset.json": restAfter("cancel"),
  "POST /api/broadcast/del.json": restDraft,
  "POST /api/broadcast/test.json": async (owner) => {
    await rested(owner);
    return await restDraft(owner);
  },
};
