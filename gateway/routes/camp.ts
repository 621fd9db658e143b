import { Type } from "@sinclair/typebox";
import type { Block } from "#gen/leadcast/campaign/v1/block_pb.ts";
import { type Campaign, CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { defineEndpoint, type Endpoint } from "../endpoint.ts";
import { gathered, pageParams } from "../paging.ts";
import { flag, id, integer, optional } from "../params.ts";
import { leadStatusFromRest, leadStatusToRest } from "../rest-values.ts";
import { bodyParams, bodySchema, bodyToRest, mediaTypeFromRest } from "./body-fields.ts";

const tag = "Campaigns";
const maxDelaySeconds = 31_536_000;
const statusText = "0 wait, 1 hold, 2 approve, 3 cancel, 4 trash.";
const campaignId = id("The campaign.");
const status = integer(`The lead status whose block it is: ${statusText}`, { minimum: 0, maximum: 4 });
const access = "There is no such campaign in your account.";

const listCampaigns = defineEndpoint({
  method: "GET",
  path: "/api/camp/list.json",
  tag,
  summary: "List campaigns",
  description: "Your campaigns, newest first: all of them, or a page with `limit` and `before`.",
  isLong: true,
  params: pageParams("campaigns"),
  data: Type.Array(
    Type.Object({
      id: Type.Integer({ description: "The campaign." }),
      name: Type.String({ description: "Its name." }),
      code: Type.String({ description: "What {campaign} becomes in messages." }),
      bot: Type.Integer({ description: "The bot that its leads talk to." }),
      paused: Type.Integer({ minimum: 0, maximum: 1, description: "1 if it is paused: its follow-ups are dropped." }),
    }),
  ),
  refusals: {},
  run: async ({ accountId, clients, options }, page) =>
    await gathered(page, async (request) => {
      const { campaigns, nextBeforeId } = await clients.campaign.listCampaigns({ accountId, ...request }, options);
      return { items: campaigns.map(campaignToRest), nextBeforeId };
    }),
});

function campaignToRest(campaign: Campaign) {
  return {
    id: Number(campaign.id),
    name: campaign.name,
    code: campaign.code,
    bot: Number(campaign.botId),
    paused: campaign.state === CampaignState.PAUSED ? 1 : 0,
  };
}

const getBlocks = defineEndpoint({
  method: "GET",
  path: "/api/camp/broadcast.json",
  tag,
  summary: "Get a campaign's blocks",
  description:
    "All five blocks, in the order of the statuses. A status that has none yet gives an empty block that is off.",
  params: { id: campaignId },
  data: Type.Array(
    Type.Object({
      status: Type.Integer({ minimum: 0, maximum: 4, description: statusText }),
      on: Type.Integer({ minimum: 0, maximum: 1, description: "1 if leads that enter the status get the message." }),
      delay: Type.Integer({ description: "Seconds between entering the status and the message." }),
      ...bodySchema,
    }),
    { minItems: 5, maxItems: 5 },
  ),
  refusals: { access },
  run: async ({ accountId, clients, options }, values) => {
    const { blocks } = await clients.campaign.listBlocks({ accountId, campaignId: values.id }, options);
    return blocks.map(blockToRest);
  },
});

function blockToRest(block: Block) {
  return {
    status: leadStatusToRest(block.status),
    on: block.on ? 1 : 0,
    delay: block.delaySeconds,
    ...bodyToRest(block.body),
  };
}

const saveBlock = defineEndpoint({
  method: "POST",
  path: "/api/camp/broadcast.json",
  tag,
  summary: "Save one block",
  description:
    "Creates or changes the block of one status. A parameter that is left out keeps its stored value; of a block that did not exist, its empty one.",
  params: {
    id: campaignId,
    status,
    on: optional(flag("1 turns the block on, 0 off.")),
    delay: optional(
      integer("Seconds between entering the status and the message.", { minimum: 0, maximum: maxDelaySeconds }),
    ),
    text: optional(bodyParams.text),
    media: optional(bodyParams.media),
    media_type: optional(bodyParams.media_type),
    button: optional(bodyParams.button),
    link: optional(bodyParams.link),
  },
  refusals: {
    func: "A parameter is missing or invalid, or a block without text and media is to be turned on.",
    access,
    broadcasts: "The block is to be on, and your tariff does not include broadcasts. Turning it off always works.",
  },
  run: async ({ accountId, clients, options }, values) => {
    const { text, media, button, link } = values;
    const request = {
      accountId,
      campaignId: values.id,
      status: leadStatusFromRest(values.status),
      on: values.on,
      delaySeconds: values.delay,
      mediaType: values.media_type === undefined ? undefined : mediaTypeFromRest(values.media_type),
    };
    await clients.campaign.saveBlock({ ...request, text, media, button, link }, options);
  },
});

const testBlock = defineEndpoint({
  method: "POST",
  path: "/api/camp/btest.json",
  tag,
  summary: "Send a block to myself",
  description: "Sends one saved block to your own chat through the service bot: text and button, never media.",
  params: { id: campaignId, status },
  refusals: {
    func: "A parameter is missing or invalid, the block is empty, or your account has no Telegram chat linked.",
    access,
    telegram: "Telegram refused the message; `message` holds its words.",
    limit: "The last preview was less than two seconds ago.",
  },
  run: async ({ accountId, clients, options }, values) => {
    const request = { accountId, campaignId: values.id, status: leadStatusFromRest(values.status) };
    await clients.campaign.sendBlockToMyself(request, options);
  },
});

export const campEndpoints: readonly Endpoint[] = [getBlocks, saveBlock, testBlock, listCampaigns];
