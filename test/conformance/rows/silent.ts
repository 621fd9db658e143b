import { expect } from "bun:test";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { eventually } from "#test/support/eventually.ts";
import type { Section } from "../row.ts";

export const silentSections: Section[] = [
  {
    from: "contract 3, where the reference is silent: broadcasts",
    rows: [
      {
        says: "a message with neither text nor media may be kept in a draft, and cannot be started",
        when: async ({ api }) => {
          const id = Number((await api.ok("POST broadcast/add")).id);
          expect(await api.code("POST broadcast/edit", { id, statuses: 31 })).toBe("ok");
          expect(await api.code("POST broadcast/start", { id })).toBe("func");
          expect(await api.get(id)).toMatchObject({ status: 0, queued: 0 });
        },
      },
      {
        says: "an edit may not empty the message of a running or paused broadcast, only of one that has ended",
        when: async ({ api }) => {
          const id = await api.running();
          expect(await api.code("POST broadcast/edit", { id, statuses: 31 })).toBe("func");
          await api.ok("POST broadcast/pause", { id });
          expect(await api.code("POST broadcast/edit", { id, statuses: 31 })).toBe("func");
          await api.ok("POST broadcast/cancel", { id });
          expect(await api.code("POST broadcast/edit", { id, statuses: 31 })).toBe("ok");
          expect(await api.code("POST broadcast/start", { id })).toBe("func");
        },
      },
      {
        says: "parked messages of leads that left the audience are no longer remaining",
        when: async ({ api, customer, stack }) => {
          const id = await api.running();
          await api.ok("POST broadcast/pause", { id });
          const leadId = BigInt(customer.leadIds[0]!);
          await stack.platform.campaign.optOutLead({ accountId: customer.accountId, leadId });
          expect(await api.get(id)).toMatchObject({ total: 2, remaining: 2, queued: 3 });
        },
      },
      {
        says: "unconfirmed leads count as failed and stay out of a top-up",
        when: async ({ api, customer, stack }) => {
          const { botNumber, firstChat } = customer;
          await stack.sandbox.control.script({ bot: botNumber, chat: firstChat, times: 1, answer: { cut: true } });
          const id = await api.running();
          await customer.flowUntil(id);
          expect(await api.get(id)).toMatchObject({ sent: 2, failed: 1, total: 3, remaining: 0 });
          expect(await api.ok("GET broadcast/progress", { id })).toMatchObject({ failed: 1, unconfirmed: 1 });
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 0 });
        },
      },
      {
        says: "a deleted campaign is in no audience, its id is nobody's, and other broadcasts go on",
        when: async ({ api, customer }) => {
          const [gone, kept] = customer.campaignIds as [number, number];
          await customer.putLeads(2, { from: 30, campaignId: kept });
          const scoped = await api.draft({ campaigns: `${gone}` });
          const all = await api.draft();
          await customer.deleteCampaign(gone);
          expect((await api.list("GET camp/list")).map(({ id }) => id)).toEqual([kept]);
          expect(await api.get(scoped)).toMatchObject({ total: 0, remaining: 0 });
          expect(await api.ok("POST broadcast/start", { id: all })).toEqual({ queued: 2 });
          for (const name of ["GET camp/broadcast", "POST camp/broadcast", "POST camp/btest"] as const) {
            expect(await api.code(name, { id: gone, status: 0 })).toBe("access");
          }
          const edit = { id: scoped, statuses: 31, text: "T", campaigns: `${gone}` };
          expect(await api.code("POST broadcast/edit", edit)).toBe("access");
        },
      },
      {
        says: "a paused campaign keeps its broadcasts, and its follow-ups are dropped",
        when: async ({ api, customer, stack }) => {
          await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 2, on: 1, text: "Follow-up" });
          await customer.enter(customer.leadIds[0]!, 2, Date.UTC(2026, 5, 1));
          await customer.putCampaignState(customer.campaignId, CampaignState.PAUSED);
          expect((await api.list("GET camp/list")).map(({ paused }) => paused)).toEqual([0, 1]);
          const id = await api.running();
          await customer.flowUntil(id);
          expect(await api.get(id)).toMatchObject({ sent: 3 });
          await eventually(async () => {
            const [row] = await stack.sql`
              SELECT state, reason FROM send WHERE bot_id = ${customer.botId} AND kind = 2`;
            return row?.state === SendState.dropped && row?.reason === SendReason.campaignNotLive;
          });
          expect((await customer.messages()).map(({ text }) => text)).toEqual(["Hello", "Hello", "Hello"]);
        },
      },
      {
        says: "previews without a linked chat are refused with a sentence that says how to link one",
        given: { linked: false },
        when: async ({ api, customer }) => {
          const id = await api.draft();
          await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 0, text: "Hi" });
          for (const [name, fields] of [
            ["POST broadcast/test", { id }],
            ["POST camp/btest", { id: customer.campaignId, status: 0 }],
          ] as const) {
            expect(await api.refusal(name, fields)).toEqual({ code: "func", message: expect.stringMatching(/link/i) });
          }
        },
      },
    ],
  },
  {
    from: "reference, send to myself",
    rows: [
      {
        says: "a broadcast's text and button come to the owner's chat through the service bot",
        when: async ({ api, customer, stack }) => {
          const id = await api.draft({ text: "Hello *you*", button: "Go", link: "https://example.com/" });
          expect(await api.try("POST broadcast/test", { id })).toEqual({ data: undefined });
          const [message] = await stack.sandbox.control.messages({ chat: customer.telegramChatId });
          expect(message).toMatchObject({ bot: stack.serviceBotId, method: "sendMessage", text: "Hello you" });
          expect(message!.reply_markup).toEqual({ inline_keyboard: [[{ text: "Go", url: "https://example.com/" }]] });
          expect(await api.get(id)).toMatchObject({ status: 0, sent: 0, queued: 0 });
        },
      },
      {
        says: "a saved block comes the same way, whether it is on or off",
        when: async ({ api, customer, stack }) => {
          await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 3, text: "Block" });
          expect(await api.try("POST camp/btest", { id: customer.campaignId, status: 3 })).toEqual({ data: undefined });
          const messages = await stack.sandbox.control.messages({ chat: customer.telegramChatId });
          expect(messages.map(({ text }) => text)).toEqual(["Block"]);
        },
      },
      {
        says: "previewing does not need the feature and counts in no quota",
        given: { broadcasts: false, dailyCap: 5 },
        when: async ({ api }) => {
          const id = await api.draft();
          await api.ok("POST broadcast/test", { id });
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 5, used: 0, queued: 0 });
        },
      },
      {
        says: "an empty message, and a block never saved, cannot be previewed",
        when: async ({ api, customer }) => {
          const { id } = await api.ok("POST broadcast/add");
          expect(await api.code("POST broadcast/test", { id: Number(id) })).toBe("func");
          expect(await api.code("POST camp/btest", { id: customer.campaignId, status: 1 })).toBe("func");
        },
      },
    ],
  },
  {
    from: "contract 3, extensions beside the reference",
    rows: [
      {
        says: "campaigns are listed newest first, with their bot",
        when: async ({ api, customer }) => {
          const campaigns = await api.list("GET camp/list");
          expect(campaigns.map(({ id }) => id)).toEqual([...customer.campaignIds].reverse());
          expect(campaigns[1]).toMatchObject({ name: "Campaign 0", code: "C0", bot: customer.botId, paused: 0 });
        },
      },
      {
        says: "progress tells dropped and unconfirmed leads and what waits",
        when: async ({ api }) => {
          const id = await api.running();
          await api.ok("POST broadcast/pause", { id });
          const progress = await api.ok("GET broadcast/progress", { id });
          expect(progress).toMatchObject({ status: 4, queued: 3, sent: 0, failed: 0, unconfirmed: 0, dropped: 0 });
          expect((progress.waiting as { reason: string }[]).map(({ reason }) => reason)).toContain("paused");
        },
      },
      {
        says: "the same file uploaded again gives the same ref",
        when: async ({ api }) => {
          const { png, mp4 } = await import("#test/core/media/files.ts");
          const picture = { file: png({ seed: 3 }) };
          expect(await api.ok("POST media/upload", picture)).toEqual(await api.ok("POST media/upload", picture));
          expect(await api.ok("POST media/upload", { file: mp4({}) })).toMatchObject({ media_type: 2 });
          expect(await api.code("POST media/upload", { file: new Uint8Array([1, 2, 3]) })).toBe("func");
        },
      },
    ],
  },
];
