import { expect } from "bun:test";
import type { CallName, Fields } from "../api.ts";
import type { Row, Section } from "../row.ts";

/** Every call of a customer's with parameters that are good if `id` is. */
export function callsOn(campaign: number, broadcast: number): readonly (readonly [CallName, Fields])[] {
  return [
    ["GET camp/list", {}],
    ["GET camp/broadcast", { id: campaign }],
    ["POST camp/broadcast", { id: campaign, status: 0, text: "Hi" }],
    ["POST camp/btest", { id: campaign, status: 0 }],
    ["GET broadcast/list", {}],
    ["GET broadcast/quota", {}],
    ["GET broadcast/get", { id: broadcast }],
    ["GET broadcast/progress", { id: broadcast }],
    ["POST broadcast/add", { name: "N" }],
    ["POST broadcast/edit", { id: broadcast, text: "Hi" }],
    ["POST broadcast/start", { id: broadcast }],
    ["POST broadcast/pause", { id: broadcast }],
    ["POST broadcast/resume", { id: broadcast }],
    ["POST broadcast/cancel", { id: broadcast }],
    ["POST broadcast/reset", { id: broadcast }],
    ["POST broadcast/del", { id: broadcast }],
    ["POST broadcast/test", { id: broadcast }],
    ["POST media/upload", { file: new Uint8Array([1, 2, 3]) }],
  ];
}

const broken = "unbalanced *bold";

/** Mistakes made at once, and which of them is told. */
const orders: Row[] = [
  {
    says: "an account that has not paid is told so by every call, whatever else is wrong",
    given: { paid: false },
    when: async ({ api, customer: { campaignId } }) => {
      for (const [name, fields] of callsOn(campaignId, 4_000_000)) {
        expect([name, await api.code(name, fields)]).toEqual([name, "unpaid"]);
      }
      expect(await api.code("POST broadcast/edit", { id: 4_000_000, text: broken })).toBe("unpaid");
    },
  },
  {
    says: "a bad parameter comes before somebody else's id",
    when: async ({ api, other }) => {
      const { customer, api: theirs } = await other();
      const id = await theirs.draft();
      expect(await api.code("POST broadcast/edit", { id, text: broken })).toBe("func");
      expect(await api.code("POST broadcast/edit", { id, statuses: 32 })).toBe("func");
      const block = { id: customer.campaignId, status: 0 };
      expect(await api.code("POST camp/broadcast", { ...block, text: broken })).toBe("func");
      expect(await api.code("POST camp/broadcast", { ...block, delay: 31_536_001 })).toBe("func");
      expect(await api.code("POST camp/broadcast", { ...block, button: "B", link: "ftp://example.com" })).toBe("func");
    },
  },
  {
    says: "a bad parameter comes before the missing feature",
    given: { broadcasts: false },
    when: async ({ api, customer: { campaignId } }) => {
      const block = { id: campaignId, status: 0, on: 1 };
      expect(await api.code("POST camp/broadcast", { ...block, text: broken })).toBe("func");
      expect(await api.code("POST camp/broadcast", { ...block, text: "x".repeat(4097) })).toBe("func");
      expect(await api.code("POST camp/broadcast", { ...block, text: "Hi", link: "nowhere" })).toBe("func");
    },
  },
  {
    says: "somebody else's id comes before the missing feature",
    given: { broadcasts: false },
    when: async ({ api, other }) => {
      const { customer, api: theirs } = await other();
      const id = await theirs.draft();
      expect(await api.code("POST broadcast/start", { id })).toBe("access");
      expect(await api.code("POST broadcast/resume", { id })).toBe("access");
      const block = { id: customer.campaignId, status: 0, on: 1, text: "Hi" };
      expect(await api.code("POST camp/broadcast", block)).toBe("access");
    },
  },
  {
    says: "the missing feature comes before the status",
    when: async ({ api, customer }) => {
      const id = await api.running();
      const draft = await api.draft();
      await customer.rebill({ broadcasts: false });
      expect(await api.code("POST broadcast/start", { id })).toBe("broadcasts");
      expect(await api.code("POST broadcast/resume", { id: draft })).toBe("broadcasts");
    },
  },
  {
    says: "the missing feature comes before an empty message",
    given: { broadcasts: false },
    when: async ({ api, customer: { campaignId } }) => {
      const { id } = await api.ok("POST broadcast/add");
      expect(await api.code("POST broadcast/start", { id: Number(id) })).toBe("broadcasts");
      expect(await api.code("POST camp/broadcast", { id: campaignId, status: 0, on: 1 })).toBe("broadcasts");
    },
  },
  {
    says: "the status comes before an empty message",
    when: async ({ api }) => {
      const id = Number((await api.ok("POST broadcast/add")).id);
      expect(await api.code("POST broadcast/resume", { id })).toBe("state");
      expect(await api.code("POST broadcast/pause", { id })).toBe("state");
      expect(await api.code("POST broadcast/start", { id })).toBe("func");
    },
  },
  {
    says: "only Start, Resume and saving a block on ask for the feature",
    when: async ({ api, customer }) => {
      const id = await api.running();
      const other = await api.draft();
      await customer.rebill({ broadcasts: false });
      const calls = callsOn(customer.campaignId, id).filter(
        ([name]) => !["POST broadcast/start", "POST broadcast/resume"].includes(name),
      );
      for (const [name, fields] of calls) {
        expect([name, await api.code(name, fields)]).not.toEqual([name, "broadcasts"]);
      }
      expect(await api.code("POST broadcast/start", { id: other })).toBe("broadcasts");
    },
  },
];

const codes: Row[] = [
  {
    says: "somebody else's broadcast or campaign is refused with access everywhere, and so is one that does not exist",
    when: async ({ api, other }) => {
      const { customer, api: theirs } = await other();
      const id = await theirs.running();
      const named = (list: ReturnType<typeof callsOn>) => list.filter(([, fields]) => "id" in fields);
      const foreign = named(callsOn(customer.campaignId, id));
      const absent = named(callsOn(8_000_000_000, 8_000_000_000));
      for (const [i, [name, fields]] of foreign.entries()) {
        const refusal = await api.refusal(name, fields);
        expect([name, refusal.code]).toEqual([name, "access"]);
        expect(refusal).toEqual(await api.refusal(...absent[i]!));
      }
      expect(await theirs.get(id)).toMatchObject({ status: 1, queued: 3 });
    },
  },
  {
    says: "campaigns in a scope must be the account's own",
    when: async ({ api, customer, other }) => {
      const { customer: stranger } = await other();
      const id = await api.draft();
      const scoped = { id, statuses: 31, text: "Hi" };
      const scope = `${customer.campaignId},${stranger.campaignId}`;
      expect(await api.code("POST broadcast/edit", { ...scoped, campaigns: scope })).toBe("access");
      expect(await api.code("POST broadcast/edit", { ...scoped, campaigns: "8000000000" })).toBe("access");
      expect(await api.get(id)).toMatchObject({ campaigns: [] });
    },
  },
  {
    says: "media must be the account's own, of the type that is said",
    when: async ({ api, customer, other }) => {
      const { png } = await import("#test/core/media/files.ts");
      const { api: theirs } = await other();
      const uploaded = await theirs.call("POST media/upload", { file: png({ seed: 7 }) });
      const media = String((("data" in uploaded && uploaded.data) as { media: string }).media);
      const own = String((await api.ok("POST media/upload", { file: png({ seed: 8 }) })).media);
      const id = await api.draft();
      for (const bad of [
        { media, media_type: 1 },
        { media: own, media_type: 2 },
        { media: "nothing", media_type: 1 },
      ]) {
        expect(await api.code("POST broadcast/edit", { id, text: "T", ...bad })).toBe("func");
        expect(await api.code("POST camp/broadcast", { id: customer.campaignId, status: 0, ...bad })).toBe("func");
      }
      expect(await api.code("POST broadcast/edit", { id, text: "T", media: own, media_type: 1 })).toBe("ok");
    },
  },
  {
    says: "every refusal says something to people",
    when: async ({ api, customer: { campaignId } }) => {
      for (const [name, fields] of callsOn(campaignId, 8_000_000_000)) {
        const outcome = await api.try(name, fields);
        if ("code" in outcome) expect(outcome.message).toMatch(/^[\p{Lu}a-z].{8,}/u);
      }
    },
  },
];

export const errorSections: Section[] = [
  { from: "contract 3, order of checks", rows: orders },
  { from: "reference and contract 3, errors", rows: codes },
];
