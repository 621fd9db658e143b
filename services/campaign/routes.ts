import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Client, ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import {
  CampaignService,
  HandleUpdateResponseSchema,
  ListBlocksResponseSchema,
  ListCampaignsResponseSchema,
  OptOutLeadResponseSchema,
  PutBotResponseSchema,
  PutCampaignResponseSchema,
  PutLeadsResponseSchema,
  ResealSecretsResponseSchema,
  SaveBlockResponseSchema,
  SetLeadReachableResponseSchema,
  SetLeadStatusResponseSchema,
  UploadMediaResponseSchema,
} from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import type { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { noteChange, recordOutside } from "#services/core/audit/record.ts";
import type { Drizzle, Sql } from "#services/core/database/client.ts";
import { retryCollisions } from "#services/core/database/retry.ts";
import { applyFact, type ReachabilityFact } from "#services/core/ledger/reachability.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { uploadMedia } from "#services/core/media/media.ts";
import { type PreviewClient, sendPreview } from "#services/core/preview/preview.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { FairTurns } from "#services/platform/fair-turns.ts";
import { microsecondsFromTimestamp, pastMicroseconds } from "#services/platform/rpc/time.ts";
import type { SecretBox } from "#services/platform/secrets.ts";
import { STATUSES, zeroBlock } from "./block.ts";
import { campaignBelongsTo, selectBlocks } from "./block-store.ts";
import { botBelongsTo } from "./bot-store.ts";
import { deleteLead } from "./delete-lead.ts";
import { handleUpdate } from "./handle-update.ts";
import { type LeadRef, selectNowUs } from "./lead-store.ts";
import { listCampaigns } from "./list-campaigns.ts";
import {
  blockToMessage,
  botFromMessage,
  botToMessage,
  campaignFromMessage,
  campaignToMessage,
  leadsFromMessages,
  patchFromMessage,
  statusFromMessage,
} from "./messages.ts";
import { liftOptOut, optOutLead } from "./opt-out.ts";
import type { OptOutMemory } from "./opt-out-memory.ts";
import { putBot } from "./put-bot.ts";
import { putCampaign } from "./put-campaign.ts";
import { putLeads, setLeadStatus } from "./put-leads.ts";
import { resealSecrets } from "./reseal.ts";
import { saveBlock } from "./save-block.ts";
import { rotateWebhookSecret, setWebhook as tellWebhook } from "./webhook-secret.ts";

export interface CampaignRoutesOptions {
  sql: Sql;
  db: Drizzle;
  /** Seals and opens bots' tokens. */
  secretBox: SecretBox;
  /** Of opt-outs. */
  memory: OptOutMemory;
  /** The only one to call the Bot API. */
  delivery: PreviewClient & Pick<Client<typeof DeliveryService>, "setWebhook" | "checkToken">;
  /** Called where a PutBot met bots whose number is not known yet. */
  onUnread: () => void;
}

/** What customers call: refused for an account that has not paid. The platform's own calls go on for it. */
export const paidMethods: ReadonlySet<string> = new Set(
  [
    CampaignService.method.listCampaigns,
    CampaignService.method.listBlocks,
    CampaignService.method.saveBlock,
    CampaignService.method.sendBlockToMyself,
    CampaignService.method.uploadMedia,
  ].map((method) => `${CampaignService.typeName}/${method.name}`),
);

/** Of values that could not be opened; their number is told whole. */
const UNOPENED_SHOWN = 100;

type Handlers = Partial<ServiceImpl<typeof CampaignService>>;

/** CampaignService over one database. */
export function createCampaignRoutes(options: CampaignRoutesOptions): (router: ConnectRouter) => void {
  return (router) => {
    router.service(CampaignService, {
      ...campaignHandlers(options),
      ...blockHandlers(options),
      ...leadHandlers(options),
      ...updateHandlers(options),
      ...mediaHandlers(options),
    });
  };
}

function campaignHandlers(options: CampaignRoutesOptions): Handlers {
  const { sql, db } = options;
  return {
    putBot: async ({ bot, setWebhook }) => {
      const stored = await putBot(options, botFromMessage(bot!));
      if (setWebhook) await tellWebhook(options, { botId: stored.id, version: stored.webhookVersion });
      return create(PutBotResponseSchema, { bot: botToMessage(stored) });
    },
    putCampaign: async ({ campaign }) => {
      const stored = await putCampaign({ sql, db }, campaignFromMessage(campaign!));
      return create(PutCampaignResponseSchema, { campaign: campaignToMessage(stored) });
    },
    listCampaigns: async ({ accountId, limit, beforeId }) => {
      const page = await listCampaigns(db, Number(accountId), { limit, beforeId: Number(beforeId) });
      const campaigns = page.campaigns.map(campaignToMessage);
      return create(ListCampaignsResponseSchema, { campaigns, nextBeforeId: BigInt(page.nextBeforeId) });
    },
  };
}

function blockHandlers({ sql, db, delivery }: CampaignRoutesOptions): Handlers {
  return {
    listBlocks: async ({ accountId, campaignId }) => {
      if (!(await campaignBelongsTo(db, Number(campaignId), Number(accountId)))) throw notYours("campaign");
      const stored = new Map((await selectBlocks(db, Number(campaignId))).map((block) => [block.status, block]));
      const blocks = STATUSES.map((status) => blockToMessage(stored.get(status) ?? zeroBlock(status)));
      return create(ListBlocksResponseSchema, { blocks });
    },
    saveBlock: async (request) => {
      const { accountId, campaignId, status } = request;
      const ref = {
        accountId: Number(accountId),
        campaignId: Number(campaignId),
        status: statusFromMessage(status),
      };
      const block = await saveBlock({ sql, db }, ref, patchFromMessage(request));
      return create(SaveBlockResponseSchema, { block: blockToMessage(block) });
    },
    sendBlockToMyself: async ({ accountId, campaignId, status }) => {
      if (!(await campaignBelongsTo(db, Number(campaignId), Number(accountId)))) throw notYours("campaign");
      const wanted = statusFromMessage(status);
      const block = (await selectBlocks(db, Number(campaignId))).find((stored) => stored.status === wanted);
      noteChange({ object: { kind: "block", id: `${campaignId}/${wanted}` } });
      await recordOutside(sql, () => sendPreview(sql, delivery, Number(accountId), (block ?? zeroBlock(wanted)).body));
      return {};
    },
  };
}

function leadHandlers(options: CampaignRoutesOptions): Handlers {
  const { sql, db } = options;
  return {
    putLeads: async ({ accountId, campaignId, leads, scheduleFollowUps = true }) => {
      const ids = await putLeads(options, {
        accountId: Number(accountId),
        campaignId: Number(campaignId),
        leads: leadsFromMessages(leads, await selectNowUs(sql)),
        scheduleFollowUps,
      });
      return create(PutLeadsResponseSchema, { leadIds: ids.map(BigInt) });
    },
    setLeadStatus: async ({ accountId, leadId, status, statusTime, scheduleFollowUps = true }) => {
      const changed = await setLeadStatus(sql, {
        accountId: Number(accountId),
        leadId: Number(leadId),
        status: statusFromMessage(status),
        statusTimeUs: pastMicroseconds(statusTime!, "status_time", await selectNowUs(sql)),
        scheduleFollowUps,
      });
      return create(SetLeadStatusResponseSchema, { changed });
    },
    optOutLead: async ({ accountId, leadId, optedOut = true, changeTime }) => {
      const ref = { accountId: Number(accountId), leadId: Number(leadId) };
      const standing = optedOut ? await optOut(options, ref) : await lift(options, ref, changeTime);
      return create(OptOutLeadResponseSchema, { optedOut: standing });
    },
    setLeadReachable: async ({ accountId, botId, chatId, reachable, changeTime }) => {
      if (!(await botBelongsTo(db, Number(botId), Number(accountId)))) throw notYours("bot");
      const fact: ReachabilityFact = {
        botIds: [Number(botId)],
        chatId: Number(chatId),
        unreachable: reachable ? SendReason.none : SendReason.blocked,
        atUs: microsecondsFromTimestamp(changeTime!, "change_time"),
        updateId: null,
      };
      const changed = await retryCollisions(() => applyFact(sql, fact));
      return create(SetLeadReachableResponseSchema, { changed });
    },
    deleteLead: async ({ accountId, leadId }) => {
      await deleteLead(options, { accountId: Number(accountId), leadId: Number(leadId) });
      return {};
    },
  };
}

/** @returns whether the lead is opted out now. */
async function optOut(options: CampaignRoutesOptions, ref: LeadRef): Promise<boolean> {
  await retryCollisions(() =>
    options.sql.begin(async (tx) => {
      const changed = await optOutLead(tx, options, ref);
      noteChange({ changes: changed ? 1 : 0 });
    }),
  );
  return true;
}

/** @returns whether the lead is opted out now: a later opt-out stays. */
async function lift(options: CampaignRoutesOptions, ref: LeadRef, at: Timestamp | undefined): Promise<boolean> {
  const field = "change_time";
  if (at === undefined) {
    const message = `${field}: is required to lift an opt-out: when the person asked for it`;
    throw new DomainError(ErrorReason.INVALID_ARGUMENT, message, { field });
  }
  const atUs = microsecondsFromTimestamp(at, field);
  return (await retryCollisions(() =>
    options.sql.begin(async (tx) => {
      const { optedOut, changed } = await liftOptOut(tx, options, { ...ref, atUs });
      noteChange({ changes: changed ? 1 : 0 });
      return optedOut;
    }),
  )) as boolean;
}

function updateHandlers(options: CampaignRoutesOptions): Handlers {
  const { sql, secretBox } = options;
  return {
    rotateWebhookSecret: async ({ accountId, botId }) => {
      const ref = { accountId: Number(accountId), botId: Number(botId) };
      await rotateWebhookSecret(options, ref);
      return {};
    },
    resealSecrets: async (_, { signal }) => {
      const { resealed, unopened } = await resealSecrets(sql, secretBox, signal);
      return create(ResealSecretsResponseSchema, {
        resealed,
        unopenedCount: unopened.length,
        unopened: unopened.slice(0, UNOPENED_SHOWN),
      });
    },
    handleUpdate: async ({ botId, updateJson, webhookSecret }) => {
      const replyJson = await handleUpdate(options, { botId: Number(botId), updateJson, webhookSecret });
      return create(HandleUpdateResponseSchema, { replyJson });
    },
  };
}

/** RPCs that take turns of their own. */
export const uploadMethods: ReadonlySet<string> = new Set([
  `${CampaignService.typeName}/${CampaignService.method.uploadMedia.name}`,
]);

/** A long video is written for a second or two: most of the connections stay free for everything else. */
const UPLOAD_TURNS = {
  maxRunning: 3,
  maxRunningPerKey: 2,
  maxWaitingPerKey: 13,
  maxWaiting: 24,
  maxWaitMs: 30_000,
  refusal: "Too many uploads run at once: try again in a moment.",
};

function mediaHandlers({ sql }: CampaignRoutesOptions): Handlers {
  const turns = new FairTurns(UPLOAD_TURNS);
  return {
    uploadMedia: async ({ accountId, content }, { signal }) => {
      const { ref, ...told } = await turns.take(
        String(accountId),
        () => uploadMedia(sql, Number(accountId), content),
        signal,
      );
      return create(UploadMediaResponseSchema, { media: ref, ...told });
    },
  };
}
