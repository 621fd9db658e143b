import type { MessageInitShape } from "@bufbuild/protobuf";
import { Type } from "@sinclair/typebox";
import type { Broadcast } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import type { UpdateBroadcastRequestSchema } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { type Call, defineEndpoint, type Endpoint } from "../endpoint.ts";
import { gathered, pageParams } from "../paging.ts";
import { campaignIds, integer, orElse, text, unixSeconds, type Values } from "../params.ts";
import type { RestCode } from "../rest-error.ts";
import {
  allStatuses,
  bitmaskFromStatuses,
  broadcastStateToRest,
  statusesFromBitmask,
  timestampFromUnix,
  unixFromTimestamp,
} from "../rest-values.ts";
import { bodyParams, bodySchema, bodyToRest, mediaTypeFromRest } from "./body-fields.ts";
import {
  access,
  bitmaskText,
  broadcastId,
  counterFields,
  listFields,
  tag,
  timeFields,
  totalField,
} from "./broadcast-fields.ts";
import { getProgress } from "./progress.ts";

const unsendable = "A parameter is missing or invalid, or the message has neither text nor media.";

const listBroadcasts = defineEndpoint({
  method: "GET",
  path: "/api/broadcast/list.json",
  tag,
  summary: "List broadcasts",
  description:
    "Your broadcasts, newest first, without their messages, with counters as they are now and `total` as of the last Start. All of them, or a page with `limit` and `before`.",
  isLong: true,
  params: pageParams("broadcasts"),
  data: Type.Array(Type.Object({ ...listFields, ...totalField, ...counterFields, ...timeFields })),
  refusals: {},
  run: async ({ accountId, clients, options }, page) =>
    await gathered(page, async (request) => {
      const { broadcasts, nextBeforeId } = await clients.broadcast.listBroadcasts({ accountId, ...request }, options);
      return { items: broadcasts.map(listedToRest), nextBeforeId };
    }),
});

/** The fields that list and get share, in the order in which both have them. */
function headToRest(broadcast: Broadcast) {
  return {
    id: Number(broadcast.id),
    name: broadcast.name,
    status: broadcastStateToRest(broadcast.state),
    statuses: bitmaskFromStatuses(broadcast.audience?.statuses ?? []),
    campaigns: (broadcast.audience?.campaignIds ?? []).map(Number),
  };
}

function timesToRest(broadcast: Broadcast) {
  return { started: unixFromTimestamp(broadcast.startTime), created: unixFromTimestamp(broadcast.createTime) };
}

function listedToRest(broadcast: Broadcast) {
  const { counters } = broadcast;
  return {
    ...headToRest(broadcast),
    total: Number(broadcast.total),
    sent: Number(counters?.sent ?? 0n),
    queued: Number(counters?.queued ?? 0n),
    failed: Number(counters?.failed ?? 0n),
    ...timesToRest(broadcast),
  };
}

const getQuota = defineEndpoint({
  method: "GET",
  path: "/api/broadcast/quota.json",
  tag,
  summary: "Get the day's limit",
  description: "How many broadcast messages your tariff allows per UTC day, how many are used, and what waits.",
  params: {},
  data: Type.Object({
    cap: Type.Integer({ description: "Broadcast messages per UTC day; 0 is unlimited." }),
    used: Type.Integer({ description: "Broadcast messages of this UTC day." }),
    queued: Type.Integer({ description: "Messages that wait to be sent, follow-ups included." }),
  }),
  refusals: {},
  run: async ({ accountId, clients, options }) => {
    const { cap, used, queued } = await clients.broadcast.getQuota({ accountId }, options);
    return { cap: Number(cap), used: Number(used), queued: Number(queued) };
  },
});

const windowText = "in unix seconds, inclusive; 0 for no bound.";
const getBroadcast = defineEndpoint({
  method: "GET",
  path: "/api/broadcast/get.json",
  tag,
  summary: "Get one broadcast",
  description:
    "The whole broadcast. Unless it is running, `total` is its audience at this moment, and `remaining` is how many of them a Start would message.",
  params: { id: broadcastId },
  data: Type.Object({
    ...listFields,
    created_from: Type.Integer({ description: `Leads that came from then on, ${windowText}` }),
    created_to: Type.Integer({ description: `Leads that came until then, ${windowText}` }),
    status_from: Type.Integer({ description: `Leads that entered their status from then on, ${windowText}` }),
    status_to: Type.Integer({ description: `Leads that entered their status until then, ${windowText}` }),
    ...bodySchema,
    ...totalField,
    remaining: Type.Integer({ description: "While running: what is queued. Otherwise: what a Start would queue." }),
    queued: counterFields.queued,
    sent: counterFields.sent,
    failed: counterFields.failed,
    ...timeFields,
  }),
  refusals: { access },
  run: async ({ accountId, clients, options }, values) => {
    const { broadcast } = await clients.broadcast.getBroadcast({ accountId, broadcastId: values.id }, options);
    if (broadcast === undefined) throw new Error("GetBroadcast left out the broadcast");
    return broadcastToRest(broadcast);
  },
});

function broadcastToRest(broadcast: Broadcast) {
  const { audience, counters } = broadcast;
  return {
    ...headToRest(broadcast),
    created_from: unixFromTimestamp(audience?.createdFromTime),
    created_to: unixFromTimestamp(audience?.createdToTime),
    status_from: unixFromTimestamp(audience?.statusFromTime),
    status_to: unixFromTimestamp(audience?.statusToTime),
    ...bodyToRest(broadcast.body),
    total: Number(broadcast.total),
    remaining: Number(broadcast.remaining),
    queued: Number(counters?.queued ?? 0n),
    sent: Number(counters?.sent ?? 0n),
    failed: Number(counters?.failed ?? 0n),
    ...timesToRest(broadcast),
  };
}

const nameParam = text("A name for yourself, at most 255 characters.", { maxLength: 255 });

const createBroadcast = defineEndpoint({
  method: "POST",
  path: "/api/broadcast/add.json",
  tag,
  summary: "Create a draft",
  description: "Creates an empty draft. Every call creates another one.",
  params: { name: orElse(nameParam, "") },
  data: Type.Object({ id: Type.Integer({ description: "The new broadcast." }) }),
  refusals: { limit: "You have as many broadcasts as your tariff allows; `message` says how many to delete." },
  run: async ({ accountId, clients, options }, { name }) => {
    const created = await clients.broadcast.createBroadcast({ accountId, name }, options);
    return { id: Number(created.broadcastId) };
  },
});

const editParams = {
  id: broadcastId,
  name: orElse(nameParam, ""),
  statuses: orElse(integer(`Target ${bitmaskText}`, { minimum: 0, maximum: allStatuses }), 0),
  campaigns: orElse(
    campaignIds("Campaign ids with commas between them, or as a list, at most 1000; empty for all your campaigns."),
    [],
  ),
  created_from: orElse(unixSeconds(`Only leads that came from then on, ${windowText}`), 0),
  created_to: orElse(unixSeconds(`Only leads that came until then, ${windowText}`), 0),
  status_from: orElse(unixSeconds(`Only leads that entered their status from then on, ${windowText}`), 0),
  status_to: orElse(unixSeconds(`Only leads that entered their status until then, ${windowText}`), 0),
  text: orElse(bodyParams.text, ""),
  media: orElse(bodyParams.media, ""),
  media_type: orElse(bodyParams.media_type, 0),
  button: orElse(bodyParams.button, ""),
  link: orElse(bodyParams.link, ""),
};

const editBroadcast = defineEndpoint({
  method: "POST",
  path: "/api/broadcast/edit.json",
  tag,
  summary: "Replace a broadcast's fields",
  description:
    "Replaces name, audience and message, in any status; what is left out becomes empty. While it runs, a new message counts for everything not yet sent, a new audience from the next Start on.",
  params: editParams,
  refusals: {
    access,
    func: "A parameter is missing or invalid, or the message would be empty while the broadcast runs or is paused.",
  },
  run: async ({ accountId, clients, options }, values) => {
    await clients.broadcast.updateBroadcast({ accountId, ...replacementFrom(values) }, options);
  },
});

function replacementFrom(values: Values<typeof editParams>): MessageInitShape<typeof UpdateBroadcastRequestSchema> {
  const { text, media, button, link } = values;
  return {
    broadcastId: values.id,
    name: values.name,
    audience: {
      statuses: statusesFromBitmask(values.statuses),
      campaignIds: values.campaigns,
      createdFromTime: timestampFromUnix(values.created_from),
      createdToTime: timestampFromUnix(values.created_to),
      statusFromTime: timestampFromUnix(values.status_from),
      statusToTime: timestampFromUnix(values.status_to),
    },
    body: { text, media, mediaType: mediaTypeFromRest(values.media_type), button, link },
  };
}

const startBroadcast = defineEndpoint({
  method: "POST",
  path: "/api/broadcast/start.json",
  tag,
  summary: "Start, or top up",
  description:
    "Queues the message for every lead of the audience that it has not reached yet, and sets a draft, done or cancelled broadcast running. With nobody new to reach, `queued` is 0 and nothing changes.",
  params: { id: broadcastId },
  data: Type.Object({ queued: Type.Integer({ description: "How many messages were queued." }) }),
  refusals: {
    access,
    broadcasts: "Your tariff does not include broadcasts.",
    state: "It is running or paused.",
    func: unsendable,
    limit: "You would have more messages in the queue than an account may have; nothing was queued.",
  },
  run: async ({ accountId, clients, options }, values) => {
    const { queued } = await clients.broadcast.startBroadcast({ accountId, broadcastId: values.id }, options);
    return { queued: Number(queued) };
  },
});

type Action = (call: Call, request: { accountId: bigint; broadcastId: bigint }) => Promise<unknown>;

interface ActionText {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly refusals: Readonly<Partial<Record<RestCode, string>>>;
}

/** A POST that takes a broadcast's id and answers with no more than ok. */
function action({ name, refusals, ...described }: ActionText, run: Action): Endpoint {
  return defineEndpoint({
    method: "POST",
    path: `/api/broadcast/${name}.json`,
    tag,
    ...described,
    params: { id: broadcastId },
    refusals: { access, ...refusals },
    run: async (call, values) => {
      await run(call, { accountId: call.accountId, broadcastId: values.id });
    },
  });
}

const actions = [
  action(
    {
      name: "pause",
      summary: "Pause",
      description: "Running to paused: what is queued is parked. What is on the wire at that moment still goes out.",
      refusals: { state: "It is not running." },
    },
    ({ clients, options }, request) => clients.broadcast.pauseBroadcast(request, options),
  ),
  action(
    {
      name: "resume",
      summary: "Resume",
      description: "Paused to running: what was parked goes on where it stopped. With nothing left it is done.",
      refusals: {
        broadcasts: "Your tariff does not include broadcasts.",
        state: "It is not paused.",
        func: unsendable,
      },
    },
    ({ clients, options }, request) => clients.broadcast.resumeBroadcast(request, options),
  ),
  action(
    {
      name: "cancel",
      summary: "Stop",
      description: "Running or paused to cancelled: what is queued is dropped. Whom it has reached is remembered.",
      refusals: { state: "It is neither running nor paused." },
    },
    ({ clients, options }, request) => clients.broadcast.cancelBroadcast(request, options),
  ),
  action(
    {
      name: "reset",
      summary: "Reset",
      description:
        "Done or cancelled to draft: forgets whom it has reached, so that the next Start messages everybody.",
      refusals: { state: "It is neither done nor cancelled." },
    },
    ({ clients, options }, request) => clients.broadcast.resetBroadcast(request, options),
  ),
  action(
    {
      name: "del",
      summary: "Delete",
      description: "Deletes a broadcast that is not running, with everything that was queued.",
      refusals: { state: "It is running: stop it first." },
    },
    ({ clients, options }, request) => clients.broadcast.deleteBroadcast(request, options),
  ),
  action(
    {
      name: "test",
      summary: "Send to myself",
      description: "Sends the message to your own chat through the service bot: text and button, never media.",
      refusals: {
        func: "A parameter is missing or invalid, the message is empty, or your account has no Telegram chat linked.",
        telegram: "Telegram refused the message; `message` holds its words.",
        limit: "The last preview was less than two seconds ago.",
      },
    },
    ({ clients, options }, request) => clients.broadcast.sendBroadcastToMyself(request, options),
  ),
];

export const broadcastEndpoints: readonly Endpoint[] = [
  listBroadcasts,
  getQuota,
  getBroadcast,
  createBroadcast,
  editBroadcast,
  startBroadcast,
  ...actions,
  getProgress,
];
