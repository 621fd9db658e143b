/** PutLeads with 10,000 leads a call, beside COPY of the same rows. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import type { Sql } from "#services/core/database/client.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { interleave, timeMs } from "../measure.ts";
import { perMessage, platformToken } from "../pipeline.ts";
import type { Row } from "../row.ts";
import { startService } from "../service.ts";
import { watchCpu } from "../usage.ts";
import { createWorld, type World } from "../world.ts";

export const putLeads: Row = {
  name: "put-leads",
  limits: `\
Processor time, in two places one after the other: the campaign process reads and validates 10,000 messages, Postgres looks each
chat up in the bot's other campaigns and then writes its row and four index entries, which COPY writes too.`,
  run: async ({ ground, quick, rounds, say }) => {
    const perCall = quick ? 100 : 10_000;
    const calls = quick ? 2 : 5;
    const database = await ground.createDatabase();
    const campaign = await startService("services/campaign/main.ts", {
      DATABASE_URL: database.url,
      CAMPAIGN_PORT: "0",
      RPC_TOKENS: JSON.stringify(ground.rpcTokens),
      SECRET_KEYS: ground.secretKeys,
    });
    try {
      const world = await createWorld(database.sql, { bots: 1, leads: 1_000 });
      const transport = createRpcTransport({
        baseUrl: campaign.url,
        token: platformToken(ground),
        timeoutMs: 60_000,
      });
      const client = createClient(CampaignService, transport);
      let nextChat = 1;
      const chats = () => Array.from({ length: perCall }, () => nextChat++);
      const rateOf = async (put: (chats: number[]) => Promise<number>) => {
        let ms = 0;
        for (let call = 0; call < calls; call++) ms += await put(chats());
        return ((calls * perCall) / ms) * 1000;
      };
      let notes = "";
      const numbers = await interleave(rounds, {
        product: async () => {
          const cpu = watchCpu([
            { name: "campaign", pid: campaign.pid },
            { name: "Postgres", pid: ground.postgresPid, tree: true },
          ]);
          const rate = await rateOf((some) => putOnce(client, world, some));
          notes = perMessage(cpu(), calls * perCall).replace("a message", "a lead");
          say(`PutLeads: ${Math.round(rate)} leads/s`);
          return rate;
        },
        floor: () => rateOf((some) => copyOnce(database.sql, world, some)),
      });
      return [
        {
          name: `PutLeads, ${perCall} a call`,
          unit: "leads/s",
          product: numbers.product,
          floor: { name: "COPY of the same rows", numbers: numbers.floor },
          goal: { of: "ratio", is: "at least", limit: 0.1 },
          notes,
        },
      ];
    } finally {
      await campaign.stop();
      await database.drop();
    }
  },
};

const statusMs = Date.UTC(2026, 0, 1);

async function putOnce(client: Client<typeof CampaignService>, world: World, chats: number[]): Promise<number> {
  const statusTime = timestampFromMs(statusMs);
  const leads = chats.map((chat) => ({
    chatId: BigInt(chat),
    status: LeadStatus.WAIT,
    statusTime,
    createTime: statusTime,
    click: `click${chat}`,
    user: `Lead Number ${chat}`,
    username: `lead_${chat}`,
  }));
  const request = { accountId: BigInt(world.accountId), campaignId: BigInt(world.campaignIds[0]!), leads };
  return await timeMs(() => client.putLeads(request));
}

/** Into the same table with the same indexes; the text is made before the clock starts. */
async function copyOnce(sql: Sql, world: World, chats: number[]): Promise<number> {
  const time = new Date(statusMs).toISOString();
  const [campaign, bot] = [world.campaignIds[0], world.botIds[0]];
  const lines = chats.map((chat) =>
    [campaign, bot, chat, 0, time, time, `click${chat}`, `Lead Number ${chat}`, `lead_${chat}`].join("\t"),
  );
  const text = `${lines.join("\n")}\n`;
  return await timeMs(async () => {
    const copy = sql`COPY lead (campaign_id, bot_id, chat_id, status, status_time, created_time, click, user_name, username)
      FROM STDIN`;
    await pipeline(Readable.from([text]), await copy.writable());
  });
}
