/** The customers of a run: accounts with bots, campaigns and leads, and broadcasts that they start, stop and change. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { eventually } from "../support/eventually.ts";
import type { Cluster } from "./cluster.ts";

export interface OwnerOptions {
  botIds: number[];
  leadsPerBot: number;
  messagesPerSecond: number;
  /** Manual messages a day; 0 for no limit. */
  dailyCap: number;
  /** Chats are numbered from here on, so that two owners' never meet. */
  firstChat: number;
}

export interface OwnedBot {
  id: number;
  /** The sandbox knows a bot by the digits of its token. */
  sandboxId: number;
  campaignId: bigint;
  chats: number[];
}

export type Action = "pause" | "resume" | "cancel" | "reset" | "start" | "edit" | "delete";

export type Owner = Awaited<ReturnType<typeof createOwner>>;

/** Numbers of the broadcast states, as the REST reference has them. */
export const RUNNING = 1;
export const DONE = 2;
export const CANCELLED = 3;
export const PAUSED = 4;

const LEADS_PER_CALL = 10_000;
/** Longer than anything is ever away, on a machine that is busy with other things as well. */
const INSIST_MS = 180_000;

/**
 * Sources of sends by the tag that stands in their messages' text: "@17 …". So whatever arrives at the Bot API can be told to
 * belong to one generation of one broadcast, without asking the ledger.
 */
export class Tags {
  readonly sources = new Map<number, number>();
  #last = 0;

  /** The tag of a source; a new one if it has none. */
  of(sourceId: number): number {
    const known = [...this.sources].find(([, source]) => source === sourceId);
    if (known) return known[0];
    this.sources.set(++this.#last, sourceId);
    return this.#last;
  }
}

export async function createOwner(cluster: Cluster, tags: Tags, options: OwnerOptions) {
  const { account, campaign, sql } = cluster;
  const { tariff } = await account.putTariff({
    tariff: { name: "chaos", broadcasts: true, dailyCap: options.dailyCap },
  });
  const { account: made } = await account.putAccount({
    account: { name: "chaos", tariffId: tariff!.id, paidUntilTime: timestampFromMs(Date.now() + 30 * 86_400_000) },
  });
  const accountId = made!.id;
  const { token: session } = await account.createSession({ accountId });
  const bots: OwnedBot[] = [];
  let nextChat = options.firstChat;
  for (const id of options.botIds) bots.push(await addBot(id));

  async function addBot(id: number): Promise<OwnedBot> {
    const sandboxId = 7_000_000 + id;
    const token = `${sandboxId}:token-of-a-bot-in-the-tests`;
    const { messagesPerSecond } = options;
    await campaign.putBot({ bot: { id: BigInt(id), accountId, token, username: `bot_${id}`, messagesPerSecond } });
    const { campaign: campaignOfBot } = await campaign.putCampaign({
      campaign: { accountId, botId: BigInt(id), name: `of ${id}`, code: `C${id}`, state: CampaignState.LIVE },
    });
    const bot = { id, sandboxId, campaignId: campaignOfBot!.id, chats: [] as number[] };
    await addLeads(bot, options.leadsPerBot);
    return bot;
  }

  async function addLeads(bot: OwnedBot, count: number): Promise<void> {
    const chats = Array.from({ length: count }, () => nextChat++);
    const statusTime = timestampFromMs(Date.now() - 3_600_000);
    for (let from = 0; from < chats.length; from += LEADS_PER_CALL) {
      const leads = chats.slice(from, from + LEADS_PER_CALL).map((chat) => ({
        chatId: BigInt(chat),
        status: LeadStatus.WAIT,
        statusTime,
        user: `Lead_${chat}`,
      }));
      await campaign.putLeads({ accountId, campaignId: bot.campaignId, leads });
    }
    bot.chats.push(...chats);
  }

  async function rest(path: string, form?: Record<string, string>): Promise<unknown> {
    const reply = await fetch(`${cluster.gatewayUrl}/api/${path}`, {
      headers: { Authorization: `Bearer ${session}` },
      ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
    });
    const body = (await reply.json()) as { status: string; error?: string; message?: string; data?: unknown };
    if (body.status !== "ok") throw new RestError(path, body.error ?? "", body.message ?? "");
    return body.data;
  }

  /** Tries again while something that the call needs is down; every other refusal is the caller's. */
  async function insist(path: string, form: Record<string, string>): Promise<unknown> {
    return await eventually(
      async () => {
        try {
          return { data: await rest(path, form) };
        } catch (error) {
          if (error instanceof RestError && error.code !== "db") return { error };
          throw error;
        }
      },
      { timeoutMs: INSIST_MS },
    ).then((outcome) => {
      if ("error" in outcome) throw outcome.error;
      return outcome.data;
    });
  }

  async function stateOf(id: number): Promise<{ state: number; sourceId: number } | undefined> {
    const [row] = await eventually(
      async () => [
        ...(await sql<{ state: number; sourceId: number }[]>`
          SELECT state, source_id AS "sourceId" FROM broadcast WHERE id = ${id}`),
      ],
      { timeoutMs: INSIST_MS },
    );
    return row;
  }

  return {
    accountId: Number(accountId),
    dailyCap: options.dailyCap,
    bots,
    rest,
    stateOf,

    /** A draft to the leads of these bots' campaigns; empty means all of the account's. */
    async createBroadcast(scope: OwnedBot[] = []): Promise<number> {
      const { id } = (await insist("broadcast/add.json", { name: "chaos" })) as { id: number };
      await this.edit(id, scope);
      return id;
    },

    /** A new body, under the tag of the generation that it will be sent for. */
    async edit(id: number, scope: OwnedBot[] = []): Promise<void> {
      const row = await stateOf(id);
      if (!row) return;
      await insist("broadcast/edit.json", {
        id: String(id),
        name: "chaos",
        statuses: "31",
        campaigns: scope.map((bot) => bot.campaignId).join(","),
        text: `@${tags.of(row.sourceId)} for *{user}*, edition ${Math.floor(performance.now())}`,
      });
    },

    /** Starts what may be started, with the tag of its generation in the text. @returns how many were enqueued. */
    async start(id: number, scope: OwnedBot[] = []): Promise<number> {
      await this.edit(id, scope);
      return ((await insist("broadcast/start.json", { id: String(id) })) as { queued: number }).queued;
    },

    async act(action: Exclude<Action, "start" | "edit">, id: number): Promise<void> {
      await insist(`broadcast/${action === "delete" ? "del" : action}.json`, { id: String(id) });
    },

    /** Switches a block on whose follow-ups go out at once, and remembers its tag. */
    async openBlock(bot: OwnedBot, status: number): Promise<void> {
      const form = { id: String(bot.campaignId), status: String(status), on: "0", delay: "0", text: "@0 later" };
      await insist("camp/broadcast.json", form);
      const [row] = await sql<{ sourceId: number }[]>`
        SELECT source_id AS "sourceId" FROM block WHERE campaign_id = ${Number(bot.campaignId)} AND status = ${status}`;
      const text = `@${tags.of(row!.sourceId)} you are *${status}* now, {user}`;
      await insist("camp/broadcast.json", { ...form, on: "1", text });
    },

    /** Moves a lead into a status; what the service cannot take now is not repeated. */
    async setStatus(bot: OwnedBot, chat: number, status: LeadStatus): Promise<void> {
      await campaign.putLeads({
        accountId,
        campaignId: bot.campaignId,
        leads: [{ chatId: BigInt(chat), status, statusTime: timestampFromMs(Date.now()) }],
        scheduleFollowUps: true,
      });
    },
  };
}

export class RestError extends Error {
  constructor(
    path: string,
    readonly code: string,
    message: string,
  ) {
    super(`${path}: ${code}: ${message}`);
  }
}
