import { expect } from "bun:test";
import { firstLeadSeconds } from "../customer.ts";
import type { Section } from "../row.ts";

const body = { text: "We miss you", button: "Claim", link: "https://example.com/back?click={click}" };
/** A moment of the past that is the same for both transports. */
const entered = Date.now();

export const broadcastSections: Section[] = [
  {
    from: "reference, list broadcasts",
    rows: [
      {
        says: "an account without broadcasts has an empty list",
        when: async ({ api }) => expect(await api.list("GET broadcast/list")).toEqual([]),
      },
      {
        says: "the newest is first, and only the account's own are there",
        when: async ({ api, other }) => {
          const stranger = await other();
          await stranger.api.ok("POST broadcast/add", { name: "strange" });
          for (const name of ["first", "second", "third"]) await api.ok("POST broadcast/add", { name });
          expect((await api.list("GET broadcast/list")).map(({ name }) => name)).toEqual(["third", "second", "first"]);
        },
      },
      {
        says: "a draft has status 0, counters of 0 and was never started",
        when: async ({ api }) => {
          await api.ok("POST broadcast/add", { name: "May" });
          const [listed] = await api.list("GET broadcast/list");
          expect(listed).toMatchObject({ name: "May", status: 0, statuses: 0, campaigns: [], total: 0 });
          expect(listed).toMatchObject({ sent: 0, queued: 0, failed: 0, started: 0 });
          expect(Math.abs(Number(listed!.created) - Date.now() / 1000)).toBeLessThan(60);
        },
      },
      {
        says: "counters are live, total is that of the last Start, statuses a bitmask, campaigns the scope",
        given: { statuses: [3, 4, 0], leads: 6 },
        when: async ({ api, customer }) => {
          const id = await api.running({ statuses: 24, campaigns: `${customer.campaignId}` });
          const listed = async () => (await api.list("GET broadcast/list"))[0];
          const scope = { statuses: 24, campaigns: [customer.campaignId] };
          expect(await listed()).toMatchObject({ status: 1, ...scope, total: 4, queued: 4, sent: 0, failed: 0 });
          await customer.flowUntil(id);
          await customer.putLeads(1, { from: 50, status: 3 });
          expect(await listed()).toMatchObject({ status: 2, ...scope, total: 4, queued: 0, sent: 4, failed: 0 });
          const { started } = (await listed())!;
          expect(Math.abs(Number(started) - Date.now() / 1000)).toBeLessThan(60);
        },
      },
      {
        says: "what Telegram refuses for good counts as failed",
        given: { leads: 3 },
        when: async ({ api, customer, stack }) => {
          const chat = customer.firstChat;
          await stack.sandbox.control.script({ bot: customer.botNumber, chat, answer: { error: "deactivated" } });
          const id = await api.running();
          await customer.flowUntil(id);
          expect((await api.list("GET broadcast/list"))[0]).toMatchObject({ sent: 2, failed: 1, queued: 0 });
        },
      },
    ],
  },
  {
    from: "reference, the daily limit's gauge",
    rows: [
      {
        says: "cap is the tariff's, and 0 means unlimited",
        given: { dailyCap: 500 },
        when: async ({ api, customer }) => {
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 500, used: 0, queued: 0 });
          await customer.rebill({ dailyCap: 0 });
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 0, used: 0, queued: 0 });
        },
      },
      {
        says: "used counts the day's manual messages, queued what waits",
        given: { dailyCap: 500, leads: 4 },
        when: async ({ api, customer }) => {
          const id = await api.running();
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 500, used: 0, queued: 4 });
          await customer.flowUntil(id);
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 500, used: 4, queued: 0 });
        },
      },
      {
        says: "queued adds up running and paused broadcasts and scheduled follow-ups, and nothing that has ended",
        given: { leads: 3 },
        when: async ({ api, customer }) => {
          await api.running();
          const paused = await api.running();
          await api.ok("POST broadcast/pause", { id: paused });
          const stopped = await api.running();
          await api.ok("POST broadcast/cancel", { id: stopped });
          const block = { id: customer.campaignId, status: 2, on: 1, delay: 31_536_000, text: "Later" };
          await api.ok("POST camp/broadcast", block);
          await customer.enter(customer.leadIds[0]!, 2, entered);
          expect(await api.ok("GET broadcast/quota")).toEqual({ cap: 0, used: 0, queued: 3 + 3 + 1 });
        },
      },
    ],
  },
  {
    from: "reference, get one broadcast",
    rows: [
      {
        says: "it has everything that was saved, scope and filters included",
        when: async ({ api, customer }) => {
          const { id } = await api.ok("POST broadcast/add");
          const filters = {
            created_from: 1,
            created_to: 1_900_000_000,
            status_from: 1_714_521_600,
            status_to: 1_800_000_000,
          };
          const saved = { name: "May win-back", statuses: 24, ...filters, ...body };
          await api.ok("POST broadcast/edit", { id: Number(id), ...saved, campaigns: customer.campaignIds.join() });
          const { created, ...rest } = await api.get(Number(id));
          const campaigns = customer.campaignIds;
          const counters = { total: 0, remaining: 0, queued: 0, sent: 0, failed: 0, started: 0 };
          expect(rest).toEqual({ id, status: 0, ...saved, campaigns, media: "", media_type: 0, ...counters });
          expect(Number(created)).toBeGreaterThan(0);
        },
      },
      {
        says: "total and remaining of a draft are its audience now",
        when: async ({ api, customer }) => {
          const id = await api.draft();
          expect(await api.get(id)).toMatchObject({ total: 3, remaining: 3 });
          await customer.putLeads(2, { from: 10 });
          expect(await api.get(id)).toMatchObject({ total: 5, remaining: 5 });
        },
      },
      {
        says: "total while running is that of the last Start, and remaining what is queued",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.putLeads(2, { from: 10 });
          expect(await api.get(id)).toMatchObject({ status: 1, total: 3, remaining: 3, queued: 3, sent: 0 });
        },
      },
      {
        says: "once done total is counted anew, and remaining is who has not been reached",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.flowUntil(id);
          expect(await api.get(id)).toMatchObject({ status: 2, total: 3, remaining: 0, sent: 3 });
          await customer.putLeads(2, { from: 10 });
          expect(await api.get(id)).toMatchObject({ status: 2, total: 5, remaining: 2, sent: 3 });
        },
      },
      {
        says: "parked messages count as remaining while it is paused",
        when: async ({ api }) => {
          const id = await api.running();
          await api.ok("POST broadcast/pause", { id });
          expect(await api.get(id)).toMatchObject({ status: 4, total: 3, remaining: 3, queued: 3 });
        },
      },
    ],
  },
  {
    from: "reference, create a draft",
    rows: [
      {
        says: "the name may be left out, and every call makes another draft",
        when: async ({ api }) => {
          const first = await api.ok("POST broadcast/add");
          const second = await api.ok("POST broadcast/add", { name: "Named" });
          expect(first.id).not.toBe(second.id);
          expect((await api.list("GET broadcast/list")).map(({ name, status }) => [name, status])).toEqual([
            ["Named", 0],
            ["", 0],
          ]);
        },
      },
    ],
  },
  {
    from: "reference, edit a broadcast",
    rows: [
      {
        says: "fields that are left out become empty, for an edit replaces",
        when: async ({ api, customer }) => {
          const id = await api.draft({ name: "Full", campaigns: `${customer.campaignId}`, created_from: 5, ...body });
          await api.ok("POST broadcast/edit", { id });
          const empty = { name: "", statuses: 0, campaigns: [], created_from: 0, text: "", button: "", link: "" };
          expect(await api.get(id)).toMatchObject({ ...empty, total: 0, remaining: 0 });
        },
      },
      {
        says: "the audience is the chosen statuses",
        given: { statuses: [0, 1, 2, 3, 4], leads: 5 },
        when: async ({ api }) => {
          const id = await api.draft();
          for (const [statuses, total] of [
            [0, 0],
            [1, 1],
            [2, 1],
            [16, 1],
            [24, 2],
            [31, 5],
          ] as const) {
            await api.ok("POST broadcast/edit", { id, statuses, text: "Hello" });
            expect((await api.get(id)).total).toBe(total);
          }
        },
      },
      {
        says: "the audience is the chosen campaigns, or all of them",
        when: async ({ api, customer }) => {
          await customer.putLeads(2, { from: 20, campaignId: customer.campaignIds[1] });
          const id = await api.draft();
          const totalOf = async (campaigns: string) => {
            await api.ok("POST broadcast/edit", { id, statuses: 31, text: "Hello", campaigns });
            return (await api.get(id)).total;
          };
          const [first, second] = customer.campaignIds;
          expect(await totalOf(`${first}`)).toBe(3);
          expect(await totalOf(`${second}`)).toBe(2);
          expect(await totalOf(`${first},${second}`)).toBe(5);
          expect(await totalOf("")).toBe(5);
        },
      },
      {
        says: "the windows of both times include their ends, and 0 is no bound",
        given: { leads: 5 },
        when: async ({ api }) => {
          const id = await api.draft();
          const at = (seconds: number) => firstLeadSeconds + seconds;
          for (const time of ["created", "status"]) {
            for (const [from, to, total] of [
              [at(1), at(3), 3],
              [at(2), 0, 3],
              [0, at(2), 3],
              [at(4), at(4), 1],
              [at(5), 0, 0],
            ] as const) {
              const window = { [`${time}_from`]: from, [`${time}_to`]: to };
              await api.ok("POST broadcast/edit", { id, statuses: 31, text: "Hello", ...window });
              expect((await api.get(id)).total).toBe(total);
            }
          }
        },
      },
      {
        says: "it is allowed in every state",
        when: async ({ api, customer }) => {
          const id = await api.draft();
          const edit = (name: string) => api.ok("POST broadcast/edit", { id, name, statuses: 31, text: "Hello" });
          await edit("draft");
          await api.ok("POST broadcast/start", { id });
          await edit("running");
          await api.ok("POST broadcast/pause", { id });
          await edit("paused");
          await api.ok("POST broadcast/cancel", { id });
          await edit("cancelled");
          await api.ok("POST broadcast/start", { id });
          await customer.flowUntil(id);
          await edit("done");
          expect(await api.get(id)).toMatchObject({ name: "done", status: 2 });
        },
      },
      {
        says: "a new body reaches every message that is still pending, new filters only the next Start",
        given: { statuses: [0, 1], leads: 4 },
        when: async ({ api, customer }) => {
          const id = await api.running({ statuses: 1, text: "Old" });
          const edited = { id, statuses: 3, text: "New", button: "Go", link: "https://example.com/{lead}" };
          await api.ok("POST broadcast/edit", edited);
          await customer.flowUntil(id);
          expect((await customer.messages()).map(({ text }) => text)).toEqual(["New", "New"]);
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 2 });
        },
      },
    ],
  },
];
