/** A customer as the platform makes one, through its RPCs: account, session, bot, campaigns, leads. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { eventually } from "#test/support/eventually.ts";
import type { Stack } from "./stack.ts";

export interface CustomerOptions {
  /** Default true. */
  paid?: boolean;
  /** The tariff's feature; default true. */
  broadcasts?: boolean;
  /** Default 0: unlimited. */
  dailyCap?: number;
  /** Whether the account has a chat with the service bot; default true. */
  linked?: boolean;
  /** Default 2. */
  campaigns?: number;
  /** In the first campaign, all in status wait unless `statuses` says otherwise; default 3. */
  leads?: number;
  /** Statuses 0–4 that the leads take in turn. */
  statuses?: readonly number[];
  /** Where the stack keeps the pace of bots; default 1,000. */
  messagesPerSecond?: number;
  /** Whether messages flow from the start; default false: the bot's lane is held, so that what runs stays running. */
  flows?: boolean;
}

/** 2026-01-01T00:00:00Z: all leads came and entered their status then, one second after the other. */
export const firstLeadSeconds = 1_767_225_600;

let made = 0;

export async function createCustomer(stack: Stack, options: CustomerOptions = {}) {
  const { account, campaign } = stack.platform;
  const number = ++made;
  const telegramChatId = options.linked === false ? 0n : BigInt(900_000_000 + number);
  const tariff = { name: "T", broadcasts: options.broadcasts ?? true, dailyCap: options.dailyCap ?? 0 };
  const tariffId = (await account.putTariff({ tariff })).tariff!.id;
  const paidUntilTime = (paid: boolean) => timestampFromMs(Date.now() + (paid ? 400 : -1) * 86_400_000);
  const stored = await account.putAccount({
    account: { name: "A", tariffId, telegramChatId, paidUntilTime: paidUntilTime(options.paid ?? true) },
  });
  const accountId = stored.account!.id;
  const { token } = await account.createSession({ accountId, ttlSeconds: 3600 });
  const botNumber = 100_000 + number;
  const botToken = `${botNumber}:the-token-of-a-bot-in-the-conformance-tests`;
  const { messagesPerSecond = 1_000 } = options;
  const bot = { accountId, token: botToken, username: "shop_bot", messagesPerSecond };
  const botId = (await campaign.putBot({ bot })).bot!.id;
  const campaignIds: number[] = [];
  for (let i = 0; i < (options.campaigns ?? 2); i++) {
    const put = await campaign.putCampaign({ campaign: { accountId, botId, name: `Campaign ${i}`, code: `C${i}` } });
    campaignIds.push(Number(put.campaign!.id));
  }
  const firstChat = 1_000_000_000 + number * 10_000;
  const statuses = options.statuses ?? [0];

  const customer = {
    accountId,
    session: token,
    telegramChatId: Number(telegramChatId),
    botId: Number(botId),
    /** As the Bot API knows it. */
    botNumber,
    botToken,
    campaignIds,
    campaignId: campaignIds[0] ?? 0,
    leadIds: [] as number[],
    firstChat,

    /** Puts leads with chats from `firstChat + from` on. */
    async putLeads(
      count: number,
      { from = 0, campaignId = campaignIds[0]!, status = undefined as number | undefined } = {},
    ) {
      const leads = Array.from({ length: count }, (_, i) => ({
        chatId: BigInt(firstChat + from + i),
        status: leadStatus(status ?? statuses[i % statuses.length]!),
        statusTime: { seconds: secondOf(from + i) },
        createTime: { seconds: secondOf(from + i) },
        user: `User ${from + i}`,
        click: `click-${from + i}`,
      }));
      const request = { accountId, campaignId: BigInt(campaignId), leads, scheduleFollowUps: false };
      const { leadIds } = await campaign.putLeads(request);
      customer.leadIds.push(...leadIds.map(Number));
      return leadIds.map(Number);
    },

    /** A new entry into a status, at this moment. */
    async enter(leadId: number, status: number, at = Date.now()): Promise<void> {
      const request = {
        accountId,
        leadId: BigInt(leadId),
        status: leadStatus(status),
        statusTime: timestampFromMs(at),
      };
      await campaign.setLeadStatus(request);
    },

    /** Changes the account and its tariff as billing would. */
    async rebill(change: { paid?: boolean; broadcasts?: boolean; dailyCap?: number; linked?: boolean }): Promise<void> {
      Object.assign(tariff, definedOf({ broadcasts: change.broadcasts, dailyCap: change.dailyCap }));
      await account.putTariff({ tariff: { id: tariffId, ...tariff } });
      if (change.paid === undefined) return;
      const row = { id: accountId, name: "A", tariffId, telegramChatId, paidUntilTime: paidUntilTime(change.paid) };
      await account.putAccount({ account: row });
    },

    async putCampaignState(campaignId: number, state: CampaignState): Promise<void> {
      const name = `Campaign ${campaignIds.indexOf(campaignId)}`;
      const code = `C${campaignIds.indexOf(campaignId)}`;
      await campaign.putCampaign({ campaign: { id: BigInt(campaignId), accountId, botId, name, code, state } });
    },

    deleteCampaign: (campaignId: number) => customer.putCampaignState(campaignId, CampaignState.DELETED),

    /** Keeps the bot's messages queued, as an operator would. */
    async hold(): Promise<void> {
      await stack.sql`
        INSERT INTO lane (bot_id, reason, message) VALUES (${customer.botId}, ${HoldReason.operator}, 'held by a test')
        ON CONFLICT (bot_id, reason) DO NOTHING`;
    },

    async flow(): Promise<void> {
      await stack.sql`DELETE FROM lane WHERE bot_id = ${customer.botId}`;
    },

    /** Lets messages flow until the broadcast is in that state, 2 (done) unless said otherwise. */
    async flowUntil(broadcastId: number, state = 2): Promise<void> {
      await customer.flow();
      await customer.untilState(broadcastId, state);
      await customer.hold();
    },

    async untilState(broadcastId: number, state: number): Promise<void> {
      await eventually(
        async () => {
          const [row] = await stack.sql`SELECT state FROM broadcast WHERE id = ${broadcastId}`;
          return row?.state === state;
        },
        { timeoutMs: 20_000 },
      );
    },

    /** What the sandbox has taken from this customer's bot, oldest first. */
    messages: () => stack.sandbox.control.messages({ bot: botNumber, limit: 100_000 }),
  };

  if (!options.flows) await customer.hold();
  const leads = options.leads ?? 3;
  if (leads > 0 && campaignIds.length > 0) await customer.putLeads(leads);
  return customer;
}

/** Never ahead of now, however far a lead's chat is from the first one. */
function secondOf(n: number): bigint {
  return BigInt(firstLeadSeconds + (n % 1_000_000));
}

export type Customer = Awaited<ReturnType<typeof createCustomer>>;

/** REST counts statuses from 0, the RPCs from 1. */
export function leadStatus(status: number): LeadStatus {
  return status + LeadStatus.WAIT;
}

function definedOf<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
