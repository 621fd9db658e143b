import { expect } from "bun:test";
import type { Api, CallName } from "../api.ts";
import type { Customer } from "../customer.ts";
import type { Row, Section } from "../row.ts";

type State = "draft" | "running" | "done" | "cancelled" | "paused";

const states: State[] = ["draft", "running", "done", "cancelled", "paused"];

/** What each action answers in each state, and the status that it leaves. */
const table: Record<string, Record<State, readonly ["ok" | "state", number]>> = {
  start: { draft: ["ok", 1], running: ["state", 1], done: ["ok", 2], cancelled: ["ok", 1], paused: ["state", 4] },
  pause: { draft: ["state", 0], running: ["ok", 4], done: ["state", 2], cancelled: ["state", 3], paused: ["state", 4] },
  resume: {
    draft: ["state", 0],
    running: ["state", 1],
    done: ["state", 2],
    cancelled: ["state", 3],
    paused: ["ok", 1],
  },
  cancel: { draft: ["state", 0], running: ["ok", 3], done: ["state", 2], cancelled: ["state", 3], paused: ["ok", 3] },
  reset: { draft: ["state", 0], running: ["state", 1], done: ["ok", 0], cancelled: ["ok", 0], paused: ["state", 4] },
  del: { draft: ["ok", -1], running: ["state", 1], done: ["ok", -1], cancelled: ["ok", -1], paused: ["ok", -1] },
};

async function broadcastIn(state: State, api: Api, customer: Customer): Promise<number> {
  if (state === "draft") return await api.draft();
  const id = await api.running();
  if (state === "done") await customer.flowUntil(id);
  if (state === "cancelled") await api.ok("POST broadcast/cancel", { id });
  if (state === "paused") await api.ok("POST broadcast/pause", { id });
  return id;
}

const transitions: Row[] = Object.entries(table).map(([action, byState]) => ({
  says: `${action} is ${states.map((state) => `${byState[state][0] === "ok" ? "allowed" : "refused"} when ${state}`).join(", ")}`,
  when: async ({ api, customer }) => {
    for (const state of states) {
      const [code, status] = byState[state];
      const id = await broadcastIn(state, api, customer);
      expect([state, await api.code(`POST broadcast/${action}` as CallName, { id })]).toEqual([state, code]);
      if (status < 0) expect(await api.code("GET broadcast/get", { id })).toBe("access");
      else expect([state, (await api.get(id)).status]).toEqual([state, status]);
    }
  },
}));

export const lifeCycleSections: Section[] = [
  { from: "reference and contract 5, which action fits which status", rows: transitions },
  {
    from: "reference, start",
    rows: [
      {
        says: "the audience is queued, its size is answered, and the broadcast runs",
        when: async ({ api }) => {
          const id = await api.draft();
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 3 });
          expect(await api.get(id)).toMatchObject({ status: 1, queued: 3, sent: 0 });
        },
      },
      {
        says: "everybody in the audience gets the message once",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.flowUntil(id);
          const chats = (await customer.messages()).map(({ chat }) => chat - customer.firstChat);
          expect(chats.sort()).toEqual([0, 1, 2]);
        },
      },
      {
        says: "starting a done one again sends just to the new leads",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.flowUntil(id);
          await customer.putLeads(2, { from: 10 });
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 2 });
          await customer.flowUntil(id);
          expect(await api.get(id)).toMatchObject({ status: 2, sent: 5, total: 5, remaining: 0 });
          expect((await customer.messages()).length).toBe(5);
        },
      },
      {
        says: "with nobody new to reach 0 is answered and the status stays",
        when: async ({ api, customer }) => {
          const nobody = await api.draft({ statuses: 16 });
          expect(await api.ok("POST broadcast/start", { id: nobody })).toEqual({ queued: 0 });
          expect(await api.get(nobody)).toMatchObject({ status: 0, started: 0 });
          const id = await api.running();
          await customer.flowUntil(id);
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 0 });
          expect(await api.get(id)).toMatchObject({ status: 2 });
        },
      },
      {
        says: "leads that failed are taken again by a top-up, those that cannot be reached any more are not",
        when: async ({ api, customer, stack }) => {
          const { botNumber, firstChat } = customer;
          await stack.sandbox.control.script({
            bot: botNumber,
            chat: firstChat,
            times: 1,
            answer: { error: "cant_send" },
          });
          await stack.sandbox.control.script({
            bot: botNumber,
            chat: firstChat + 1,
            times: 1,
            answer: { error: "blocked" },
          });
          const id = await api.running();
          await customer.flowUntil(id);
          expect(await api.get(id)).toMatchObject({ sent: 1, failed: 2, total: 2, remaining: 1 });
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 1 });
        },
      },
      {
        says: "without the feature it is refused",
        given: { broadcasts: false },
        when: async ({ api }) => {
          const id = await api.draft();
          expect(await api.code("POST broadcast/start", { id })).toBe("broadcasts");
          expect(await api.get(id)).toMatchObject({ status: 0, queued: 0 });
        },
      },
    ],
  },
  {
    from: "reference, pause and resume",
    rows: [
      {
        says: "pausing parks what is pending and keeps it, resuming goes on to the end",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await api.ok("POST broadcast/pause", { id });
          await customer.flow();
          expect(await api.get(id)).toMatchObject({ status: 4, queued: 3, sent: 0 });
          await api.ok("POST broadcast/resume", { id });
          await customer.untilState(id, 2);
          expect(await api.get(id)).toMatchObject({ status: 2, queued: 0, sent: 3 });
          expect((await customer.messages()).length).toBe(3);
        },
      },
      {
        says: "resuming with nothing left makes it done",
        when: async ({ api, customer, stack }) => {
          const id = await api.running();
          await api.ok("POST broadcast/pause", { id });
          for (const leadId of customer.leadIds) {
            await stack.platform.campaign.deleteLead({ accountId: customer.accountId, leadId: BigInt(leadId) });
          }
          await api.ok("POST broadcast/resume", { id });
          expect(await api.get(id)).toMatchObject({ status: 2, queued: 0 });
        },
      },
      {
        says: "resuming without the feature is refused, pausing and stopping are not",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.rebill({ broadcasts: false });
          expect(await api.code("POST broadcast/pause", { id })).toBe("ok");
          expect(await api.code("POST broadcast/resume", { id })).toBe("broadcasts");
          expect(await api.code("POST broadcast/cancel", { id })).toBe("ok");
        },
      },
    ],
  },
  {
    from: "reference, stop",
    rows: [
      {
        says: "what is queued is dropped and never sent, from running and from paused",
        when: async ({ api, customer }) => {
          const running = await api.running();
          const paused = await api.running();
          await api.ok("POST broadcast/pause", { id: paused });
          for (const id of [running, paused]) {
            await api.ok("POST broadcast/cancel", { id });
            expect(await api.get(id)).toMatchObject({ status: 3, queued: 0, sent: 0, failed: 0 });
            expect(await api.ok("GET broadcast/progress", { id })).toMatchObject({
              status: 3,
              dropped: 3,
              waiting: [],
            });
          }
          await customer.flow();
          const last = await api.running();
          await customer.untilState(last, 2);
          expect((await customer.messages()).length).toBe(3);
        },
      },
      {
        says: "a later Start does not message again whom it has reached",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.flowUntil(id);
          await customer.putLeads(2, { from: 10 });
          await api.ok("POST broadcast/start", { id });
          await api.ok("POST broadcast/cancel", { id });
          expect(await api.get(id)).toMatchObject({ status: 3, sent: 3, remaining: 2 });
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 2 });
          await customer.flowUntil(id);
          expect((await customer.messages()).length).toBe(5);
        },
      },
    ],
  },
  {
    from: "reference, reset",
    rows: [
      {
        says: "it becomes a draft without counters and keeps name, filters and body",
        when: async ({ api, customer }) => {
          const kept = {
            name: "Kept",
            statuses: 31,
            created_from: 7,
            text: "Body",
            button: "B",
            link: "https://example.com/",
          };
          const id = await api.running({ ...kept, campaigns: `${customer.campaignId}` });
          await customer.flowUntil(id);
          await api.ok("POST broadcast/reset", { id });
          const counters = { status: 0, sent: 0, queued: 0, failed: 0, started: 0, total: 3, remaining: 3 };
          expect(await api.get(id)).toMatchObject({ ...kept, campaigns: [customer.campaignId], ...counters });
        },
      },
      {
        says: "the next Start sends to the whole audience again",
        when: async ({ api, customer }) => {
          const id = await api.running();
          await customer.flowUntil(id);
          await api.ok("POST broadcast/reset", { id });
          expect(await api.ok("POST broadcast/start", { id })).toEqual({ queued: 3 });
          await customer.flowUntil(id);
          expect((await customer.messages()).length).toBe(6);
        },
      },
    ],
  },
  {
    from: "reference, delete",
    rows: [
      {
        says: "it is gone with its parked messages, and its id is nobody's",
        when: async ({ api, customer }) => {
          const id = await api.running({ campaigns: `${customer.campaignId}` });
          await api.ok("POST broadcast/pause", { id });
          await api.ok("POST broadcast/del", { id });
          expect(await api.list("GET broadcast/list")).toEqual([]);
          expect(await api.ok("GET broadcast/quota")).toMatchObject({ queued: 0 });
          expect(await api.code("POST broadcast/del", { id })).toBe("access");
        },
      },
    ],
  },
];
