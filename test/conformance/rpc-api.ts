import { ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import type { RestCode } from "../../gateway/rest-error.ts";
import { Api, type CallName, type Fields } from "./api.ts";
import { leadStatus } from "./customer.ts";
import type { Clients } from "./stack.ts";

/** The same calls through the typed clients, with the reference's names translated here. */
export function createRpcApi(clients: Clients, accountId: bigint): Api {
  return new Api("RPC", async (name, fields) => {
    try {
      return { data: await rpcs[name]({ clients, accountId, fields: new Reader(fields) }) };
    } catch (error) {
      const { reason, message } = reasonFromError(error);
      return { code: codeOf[reason] ?? "db", message };
    }
  });
}

/** The contract's codes, written down once more. */
const codeOf: Partial<Record<Reason, RestCode>> = {
  [ErrorReason.SESSION_INVALID]: "key",
  [ErrorReason.UNPAID]: "unpaid",
  [ErrorReason.INVALID_ARGUMENT]: "func",
  [ErrorReason.NOT_YOURS]: "access",
  [ErrorReason.FEATURE_MISSING]: "broadcasts",
  [ErrorReason.WRONG_STATE]: "state",
  [ErrorReason.BODY_INVALID]: "func",
  [ErrorReason.NOT_SET_UP]: "func",
  [ErrorReason.TELEGRAM_REFUSED]: "telegram",
  [ErrorReason.RATE_LIMITED]: "limit",
  [ErrorReason.LIMIT_REACHED]: "limit",
};

class Reader {
  constructor(readonly fields: Fields) {}

  has = (name: string) => this.fields[name] !== undefined;
  number = (name: string) => Number(this.fields[name] ?? 0);
  id = (name: string) => BigInt(this.number(name));
  text = (name: string) => String(this.fields[name] ?? "");
  moment = (name: string) => (this.number(name) === 0 ? undefined : { seconds: BigInt(this.number(name)) });
  maybe<T>(name: string, read: (name: string) => T): T | undefined {
    return this.has(name) ? read(name) : undefined;
  }
}

interface Context {
  clients: Clients;
  accountId: bigint;
  fields: Reader;
}

type Rpc = (context: Context) => Promise<unknown>;

const oneBroadcast = ({ accountId, fields }: Context) => ({ accountId, broadcastId: fields.id("id") });

/** Calls that answer with nothing. */
const silent =
  (run: (context: Context) => Promise<unknown>): Rpc =>
  async (context) => {
    await run(context);
    return undefined;
  };

const rpcs: Record<CallName, Rpc> = {
  "GET camp/list": async ({ clients, accountId }) => {
    const { campaigns } = await clients.campaign.listCampaigns({ accountId });
    return campaigns.map(({ id, name, code, botId, state }) => ({
      id: Number(id),
      name,
      code,
      bot: Number(botId),
      paused: state === 2 ? 1 : 0,
    }));
  },
  "GET camp/broadcast": async ({ clients, accountId, fields }) => {
    const { blocks } = await clients.campaign.listBlocks({ accountId, campaignId: fields.id("id") });
    return blocks.map(({ status, on, delaySeconds, body }) => ({
      status: status - 1,
      on: Number(on),
      delay: delaySeconds,
      ...bodyOf(body),
    }));
  },
  "POST camp/broadcast": silent(({ clients, accountId, fields }) =>
    clients.campaign.saveBlock({
      accountId,
      campaignId: fields.id("id"),
      status: leadStatus(fields.number("status")),
      on: fields.maybe("on", (name) => fields.number(name) === 1),
      delaySeconds: fields.maybe("delay", fields.number),
      text: fields.maybe("text", fields.text),
      media: fields.maybe("media", fields.text),
      mediaType: fields.maybe("media_type", fields.number),
      button: fields.maybe("button", fields.text),
      link: fields.maybe("link", fields.text),
    }),
  ),
  "POST camp/btest": silent(({ clients, accountId, fields }) => {
    const status = leadStatus(fields.number("status"));
    return clients.campaign.sendBlockToMyself({ accountId, campaignId: fields.id("id"), status });
  }),
  "GET broadcast/list": async ({ clients, accountId }) => {
    const broadcasts = [];
    let beforeId = 0n;
    do {
      const page = await clients.broadcast.listBroadcasts({ accountId, beforeId });
      broadcasts.push(...page.broadcasts);
      beforeId = page.nextBeforeId;
    } while (beforeId !== 0n);
    return broadcasts.map((one) => ({ ...headOf(one), total: Number(one.total), ...countersOf(one), ...timesOf(one) }));
  },
  "GET broadcast/quota": async ({ clients, accountId }) => {
    const { cap, used, queued } = await clients.broadcast.getQuota({ accountId });
    return { cap: Number(cap), used: Number(used), queued: Number(queued) };
  },
  "GET broadcast/get": async (context) => {
    const { broadcast } = await context.clients.broadcast.getBroadcast(oneBroadcast(context));
    return wholeOf(broadcast!);
  },
  "GET broadcast/progress": async (context) => {
    const progress = (await context.clients.broadcast.getProgress(oneBroadcast(context))).progress!;
    const counters = progress.counters!;
    return {
      status: progress.state - 1,
      ...countersOf({ counters }),
      unconfirmed: Number(counters.unconfirmed),
      dropped: Number(counters.dropped),
      pause_reason: progress.pauseReason,
      waiting: progress.waiting.map(({ reason, botId, untilTime, message }) => ({
        reason: ["none", "paused", "quota", "entitlement", "bot"][reason],
        bot: Number(botId),
        until: Number(untilTime?.seconds ?? 0n),
        message,
      })),
      rate: progress.ratePerSecond,
      eta: progress.state === 3 ? 0 : progress.etaSeconds === undefined ? null : Number(progress.etaSeconds),
    };
  },
  "POST broadcast/add": async ({ clients, accountId, fields }) => {
    const { broadcastId } = await clients.broadcast.createBroadcast({ accountId, name: fields.text("name") });
    return { id: Number(broadcastId) };
  },
  "POST broadcast/edit": silent((context) =>
    context.clients.broadcast.updateBroadcast({
      ...oneBroadcast(context),
      name: context.fields.text("name"),
      audience: audienceOf(context.fields),
      body: {
        text: context.fields.text("text"),
        media: context.fields.text("media"),
        mediaType: context.fields.number("media_type"),
        button: context.fields.text("button"),
        link: context.fields.text("link"),
      },
    }),
  ),
  "POST broadcast/start": async (context) => {
    const { queued } = await context.clients.broadcast.startBroadcast(oneBroadcast(context));
    return { queued: Number(queued) };
  },
  "POST broadcast/pause": silent((context) => context.clients.broadcast.pauseBroadcast(oneBroadcast(context))),
  "POST broadcast/resume": silent((context) => context.clients.broadcast.resumeBroadcast(oneBroadcast(context))),
  "POST broadcast/cancel": silent((context) => context.clients.broadcast.cancelBroadcast(oneBroadcast(context))),
  "POST broadcast/reset": silent((context) => context.clients.broadcast.resetBroadcast(oneBroadcast(context))),
  "POST broadcast/del": silent((context) => context.clients.broadcast.deleteBroadcast(oneBroadcast(context))),
  "POST broadcast/test": silent((context) => context.clients.broadcast.sendBroadcastToMyself(oneBroadcast(context))),
  "POST media/upload": async ({ clients, accountId, fields }) => {
    const content = fields.fields.file;
    if (!(content instanceof Uint8Array)) throw new Error("media/upload takes bytes");
    const { media, mediaType } = await clients.campaign.uploadMedia({ accountId, content });
    return { media, media_type: mediaType };
  },
};

function audienceOf(fields: Reader) {
  const mask = fields.number("statuses");
  const campaigns = fields.text("campaigns");
  return {
    statuses: [0, 1, 2, 3, 4, 5].filter((bit) => (mask & (1 << bit)) !== 0).map(leadStatus),
    campaignIds: campaigns === "" ? [] : campaigns.split(",").map(BigInt),
    createdFromTime: fields.moment("created_from"),
    createdToTime: fields.moment("created_to"),
    statusFromTime: fields.moment("status_from"),
    statusToTime: fields.moment("status_to"),
  };
}

type Broadcast = NonNullable<Awaited<ReturnType<Clients["broadcast"]["getBroadcast"]>>["broadcast"]>;

function headOf({ id, name, state, audience }: Broadcast) {
  return {
    id: Number(id),
    name,
    status: state - 1,
    statuses: audience!.statuses.reduce((mask, status) => mask | (1 << (status - 1)), 0),
    campaigns: audience!.campaignIds.map(Number),
  };
}

function countersOf({ counters }: Pick<Broadcast, "counters">) {
  return { sent: Number(counters!.sent), queued: Number(counters!.queued), failed: Number(counters!.failed) };
}

function timesOf({ startTime, createTime }: Broadcast) {
  return { started: Number(startTime?.seconds ?? 0n), created: Number(createTime!.seconds) };
}

function bodyOf(body: Broadcast["body"]) {
  const { text, media, mediaType, button, link } = body!;
  return { text, media, media_type: mediaType, button, link };
}

function wholeOf(broadcast: Broadcast) {
  const { audience, total, remaining, body } = broadcast;
  return {
    ...headOf(broadcast),
    created_from: Number(audience!.createdFromTime?.seconds ?? 0n),
    created_to: Number(audience!.createdToTime?.seconds ?? 0n),
    status_from: Number(audience!.statusFromTime?.seconds ?? 0n),
    status_to: Number(audience!.statusToTime?.seconds ?? 0n),
    ...bodyOf(body),
    total: Number(total),
    remaining: Number(remaining),
    ...countersOf(broadcast),
    ...timesOf(broadcast),
  };
}
