/** A customer of a running system: an account with bots, a campaign for each and leads, made through the RPCs. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import type { RecordedMessage } from "#services/local/sandbox/messages.ts";
import { eventually } from "./eventually.ts";
import type { System } from "./system.ts";

export interface CustomerOptions {
  /** Default bots 1 and 2. Bots 1 and 31 are always on different ones of two replicas. */
  botIds?: number[];
  leadsPerBot?: number;
  messagesPerSecond?: number;
}

export interface CustomerBot {
  id: number;
  /** The sandbox knows a bot by the digits of its token. */
  sandboxId: number;
  campaignId: bigint;
}

/** What REST says of a broadcast. */
export interface BroadcastReply {
  /** 0 draft, 1 running, 2 done, 3 cancelled, 4 paused. */
  status: number;
  total: number;
  remaining: number;
  queued: number;
  sent: number;
  failed: number;
}

/** A row of the ledger with its lead. */
export interface LedgerRow {
  chatId: number;
  botId: number;
  /** A SendState; a queued row of a run that is closed is dropped. */
  state: number;
  /** A SendReason. */
  reason: number;
  messageId: number | null;
  /** Why the lead is out of every audience; 0 if it is not. */
  unreachable: number;
}

export type Customer = Awaited<ReturnType<typeof createCustomer>>;

/** A claim of a dead process is given up after 15 s, and what was published and lost is published again after as long. */
const endTimeoutMs = 90_000;
/** For what takes a second or two on a machine that is not busy. */
const stepTimeoutMs = 30_000;

export async function createCustomer(system: System, options: CustomerOptions = {}) {
  const { botIds = [1, 2], leadsPerBot = 0, messagesPerSecond = 400 } = options;
  const { account, campaign, sandbox, sql } = system;
  const { tariff } = await account.putTariff({ tariff: { name: "test", broadcasts: true } });
  const paidUntilTime = timestampFromMs(Date.now() + 86_400_000);
  const { account: made } = await account.putAccount({
    account: { name: "test", tariffId: tariff!.id, paidUntilTime },
  });
  const accountId = made!.id;
  const { token: session } = await account.createSession({ accountId });
  // The pace is measured elsewhere; here a machine that stutters shall not look like a bot that is too fast.
  await sandbox.configure({ botPerSecond: 0 });
  const bots = await Promise.all(botIds.map((id) => putBot(id)));
  let nextChat = 1;
  await addLeads(leadsPerBot);

  async function putBot(id: number): Promise<CustomerBot> {
    const sandboxId = 7_000_000 + id;
    const token = `${sandboxId}:token-of-a-bot-in-the-tests`;
    await campaign.putBot({ bot: { id: BigInt(id), accountId, token, username: `bot_${id}`, messagesPerSecond } });
    const { campaign: campaignOfBot } = await campaign.putCampaign({
      campaign: { accountId, botId: BigInt(id), name: `of ${id}`, code: `C${id}`, state: CampaignState.LIVE },
    });
    return { id, sandboxId, campaignId: campaignOfBot!.id };
  }

  /** Adds that many to each bot, each in a chat of its own. @returns their chats. */
  async function addLeads(perBot: number): Promise<number[]> {
    if (perBot === 0) return [];
    const chats: number[] = [];
    for (const { campaignId } of bots) {
      const ofBot = Array.from({ length: perBot }, () => nextChat++);
      const statusTime = timestampFromMs(Date.now());
      const leads = ofBot.map((chat) => ({
        chatId: BigInt(chat),
        status: LeadStatus.WAIT,
        statusTime,
        user: userOf(chat),
      }));
      await campaign.putLeads({ accountId, campaignId, leads });
      chats.push(...ofBot);
    }
    return chats;
  }

  const rest = (path: string, form?: Record<string, string>) => system.rest(session, path, form);
  const get = async (id: number) => (await rest(`broadcast/get.json?id=${id}`)) as BroadcastReply;

  return {
    /** The token for REST. */
    session,
    bots,
    addLeads,

    /** @returns the id of a new draft to all leads. */
    async createBroadcast(text: string): Promise<number> {
      const { id } = (await rest("broadcast/add.json", { name: "Test" })) as { id: number };
      await this.editText(id, text);
      return id;
    },

    async editText(id: number, text: string): Promise<void> {
      await rest("broadcast/edit.json", { id: String(id), statuses: "31", text });
    },

    /** @returns how many were enqueued. */
    async start(id: number): Promise<number> {
      return ((await rest("broadcast/start.json", { id: String(id) })) as { queued: number }).queued;
    },

    async act(action: "pause" | "resume" | "cancel", id: number): Promise<void> {
      await rest(`broadcast/${action}.json`, { id: String(id) });
    },

    get,

    /** Waits until the broadcast is done by itself. */
    async untilDone(id: number): Promise<BroadcastReply> {
      await eventually(
        async () => {
          // Asked of the database: a hundred calls a second through the gateway would slow down what is waited for.
          const [row] = await sql<{ state: number }[]>`SELECT state FROM broadcast WHERE id = ${id}`;
          if (row!.state !== 2) throw new Error(`The broadcast is not done: its state is ${row!.state}`);
          return true;
        },
        { timeoutMs: endTimeoutMs },
      );
      return await get(id);
    },

    /** Waits until the sandbox has accepted that many messages of all bots. */
    async untilAccepted(count: number): Promise<void> {
      await eventually(async () => (await sandbox.totals()).accepted >= count, { timeoutMs: stepTimeoutMs });
    },

    /** Waits until no message of the customer's is on the wire. */
    async untilNothingIsSending(): Promise<void> {
      await eventually(async () => (await sql`SELECT 1 FROM send WHERE state = 1 LIMIT 1`).length === 0, {
        timeoutMs: stepTimeoutMs,
      });
    },

    async ledger(id: number): Promise<LedgerRow[]> {
      const rows = await sql<LedgerRow[]>`
        SELECT l.chat_id AS "chatId", s.bot_id AS "botId", s.reason, s.message_id AS "messageId", l.unreachable,
          CASE WHEN s.state = 0 AND (b.state NOT IN (1, 4) OR s.run <> b.run) THEN 5 ELSE s.state END AS state
        FROM send s JOIN broadcast b USING (source_id) JOIN lead l ON l.id = s.lead_id WHERE b.id = ${id} ORDER BY 1`;
      return [...rows];
    },

    /** Every message that the sandbox accepted. */
    async record(): Promise<RecordedMessage[]> {
      return await sandbox.messages({ limit: 100_000 });
    },
  };
}

/** The value of `{user}` for a lead: with characters that Markdown would take for its own. */
export function userOf(chat: number): string {
  return `Lead_${chat} *of* many`;
}
