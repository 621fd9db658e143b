/** Between protobuf and what the campaign service works with. Validation has passed: ids fit a number, enums are defined. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { BlockSchema } from "#gen/leadcast/campaign/v1/block_pb.ts";
import type {
  Bot as BotMessage,
  BotSchema,
  Campaign as CampaignMessage,
  CampaignSchema,
} from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import type { SaveBlockRequest } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import type { Lead as LeadMessage, LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { pastMicroseconds } from "#services/platform/rpc/time.ts";
import type { Block, BlockPatch } from "./block.ts";
import type { Bot, BotInput } from "./bot.ts";
import { type Campaign, CampaignState } from "./campaign.ts";
import { createDistinctCheck, type LeadInput } from "./lead.ts";

/** The enum leaves 0 to "unspecified"; storage and REST count from 0. */
export function statusFromMessage(status: LeadStatus): number {
  return status - 1;
}

export function botFromMessage({ id, accountId, token, username, messagesPerSecond }: BotMessage): BotInput {
  return { id: Number(id), accountId: Number(accountId), token, username, messagesPerSecond };
}

/** Without the token: it is only ever taken in. */
export function botToMessage({ id, accountId, username, messagesPerSecond }: Bot): MessageInitShape<typeof BotSchema> {
  return { id: BigInt(id), accountId: BigInt(accountId), username, messagesPerSecond };
}

export function campaignFromMessage(message: CampaignMessage): Campaign {
  return {
    id: Number(message.id),
    accountId: Number(message.accountId),
    botId: Number(message.botId),
    name: message.name,
    code: message.code,
    trackedChatId: Number(message.trackedChatId),
    state: message.state === 0 ? CampaignState.live : message.state,
  };
}

export function campaignToMessage(campaign: Campaign): MessageInitShape<typeof CampaignSchema> {
  return {
    id: BigInt(campaign.id),
    accountId: BigInt(campaign.accountId),
    botId: BigInt(campaign.botId),
    name: campaign.name,
    code: campaign.code,
    trackedChatId: BigInt(campaign.trackedChatId),
    state: campaign.state,
  };
}

export function patchFromMessage(message: SaveBlockRequest): BlockPatch {
  const { on, delaySeconds, text, media, mediaType, button, link } = message;
  return { on, delaySeconds, text, media, mediaType, button, link };
}

export function blockToMessage({ status, on, delaySeconds, body }: Block): MessageInitShape<typeof BlockSchema> {
  return { status: status + 1, on, delaySeconds, body: { ...body } };
}

/**
 * The leads of one call.
 * @param nowUs Postgres' clock in microseconds.
 * @throws DomainError INVALID_ARGUMENT naming the first lead that is reported for a time to come, or twice.
 */
export function leadsFromMessages(messages: readonly LeadMessage[], nowUs: number): LeadInput[] {
  const checkDistinct = createDistinctCheck();
  return messages.map((message, index) => {
    const lead = leadFromMessage(message, `leads[${index}]`, nowUs);
    checkDistinct(lead, index);
    return lead;
  });
}

function leadFromMessage(message: LeadMessage, field: string, nowUs: number): LeadInput {
  const { createTime } = message;
  return {
    id: Number(message.id),
    chatId: Number(message.chatId),
    status: statusFromMessage(message.status),
    statusTimeUs: pastMicroseconds(message.statusTime!, `${field}.status_time`, nowUs),
    createTimeUs: createTime ? pastMicroseconds(createTime, `${field}.create_time`, nowUs) : null,
    click: message.click,
    userName: message.user,
    subscriber: message.subscriber,
    username: message.username,
  };
}
