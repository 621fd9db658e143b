import { expect } from "bun:test";
import { png } from "#test/core/media/files.ts";
import type { Section } from "../row.ts";

const zero = { on: 0, delay: 0, text: "", media: "", media_type: 0, button: "", link: "" };
const welcome = { text: "Welcome! Tap below 👇", button: "Open", link: "https://example.com/l?click={click}" };

export const blockSections: Section[] = [
  {
    from: "reference, get a campaign's blocks",
    rows: [
      {
        says: "all five blocks come, in the order of the statuses, and those never saved are empty and off",
        when: async ({ api, customer }) => {
          const blocks = await api.list("GET camp/broadcast", { id: customer.campaignId });
          expect(blocks).toEqual([0, 1, 2, 3, 4].map((status) => ({ status, ...zero })));
        },
      },
      {
        says: "a saved block comes back as it was saved, beside four empty ones",
        when: async ({ api, customer: { campaignId } }) => {
          await api.ok("POST camp/broadcast", { id: campaignId, status: 0, on: 1, delay: 1800, ...welcome });
          const blocks = await api.list("GET camp/broadcast", { id: campaignId });
          expect(blocks[0]).toEqual({ status: 0, ...zero, on: 1, delay: 1800, ...welcome });
          expect(blocks.slice(1)).toEqual([1, 2, 3, 4].map((status) => ({ status, ...zero })));
        },
      },
      {
        says: "each campaign has blocks of its own",
        when: async ({ api, customer }) => {
          await api.ok("POST camp/broadcast", { id: customer.campaignIds[0]!, status: 3, text: "one" });
          await api.ok("POST camp/broadcast", { id: customer.campaignIds[1]!, status: 3, text: "two" });
          const texts: unknown[] = [];
          for (const id of customer.campaignIds) texts.push((await api.list("GET camp/broadcast", { id }))[3]!.text);
          expect(texts).toEqual(["one", "two"]);
        },
      },
    ],
  },
  {
    from: "reference, save one block",
    rows: [
      {
        says: "saving answers with nothing but ok",
        when: async ({ api, customer }) => {
          const outcome = await api.try("POST camp/broadcast", { id: customer.campaignId, status: 2, ...welcome });
          expect(outcome).toEqual({ data: undefined });
        },
      },
      {
        says: "every one of the five statuses takes a block",
        when: async ({ api, customer: { campaignId } }) => {
          for (const status of [0, 1, 2, 3, 4]) {
            await api.ok("POST camp/broadcast", { id: campaignId, status, on: 1, delay: status, text: `s${status}` });
          }
          const blocks = await api.list("GET camp/broadcast", { id: campaignId });
          expect(blocks.map(({ delay, text, on }) => [delay, text, on])).toEqual(
            [0, 1, 2, 3, 4].map((status) => [status, `s${status}`, 1]),
          );
        },
      },
      {
        says: "saving again changes the same block",
        when: async ({ api, customer: { campaignId } }) => {
          await api.ok("POST camp/broadcast", { id: campaignId, status: 4, on: 1, delay: 5, ...welcome });
          await api.ok("POST camp/broadcast", { id: campaignId, status: 4, on: 0, delay: 7, text: "Other" });
          const block = (await api.list("GET camp/broadcast", { id: campaignId }))[4];
          expect(block).toEqual({ status: 4, ...zero, ...welcome, delay: 7, text: "Other" });
        },
      },
      {
        says: "media is the ref and the type that the upload has answered",
        when: async ({ api, customer: { campaignId } }) => {
          const uploaded = await api.ok("POST media/upload", { file: png() });
          expect(uploaded).toEqual({ media: expect.stringMatching(/^\S+$/), media_type: 1 });
          const media = { media: String(uploaded.media), media_type: 1 };
          await api.ok("POST camp/broadcast", { id: campaignId, status: 1, on: 1, ...media });
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[1]).toMatchObject({ on: 1, ...media });
          await api.ok("POST camp/broadcast", { id: campaignId, status: 1, text: "T", media: "", media_type: 0 });
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[1]).toMatchObject({
            media: "",
            media_type: 0,
          });
        },
      },
      {
        says: "turning a block on without the feature is refused",
        given: { broadcasts: false },
        when: async ({ api, customer: { campaignId } }) => {
          expect(await api.code("POST camp/broadcast", { id: campaignId, status: 0, on: 1, text: "Hi" })).toBe(
            "broadcasts",
          );
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[0]).toEqual({ status: 0, ...zero });
        },
      },
      {
        says: "a block that is off can be edited without the feature",
        given: { broadcasts: false },
        when: async ({ api, customer: { campaignId } }) => {
          await api.ok("POST camp/broadcast", { id: campaignId, status: 0, text: "Hi" });
          await api.ok("POST camp/broadcast", { id: campaignId, status: 0, on: 0, text: "Hi again" });
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[0]!.text).toBe("Hi again");
        },
      },
      {
        says: "a downgraded account can turn a block off",
        when: async ({ api, customer }) => {
          const block = { id: customer.campaignId, status: 0 };
          await api.ok("POST camp/broadcast", { ...block, on: 1, text: "Hi" });
          await customer.rebill({ broadcasts: false });
          await api.ok("POST camp/broadcast", { ...block, on: 0 });
          expect((await api.list("GET camp/broadcast", { id: customer.campaignId }))[0]).toMatchObject({
            on: 0,
            text: "Hi",
          });
        },
      },
    ],
  },
  {
    from: "contract 3, where the reference is silent: blocks",
    rows: [
      {
        says: "parameters that are left out keep what is stored",
        when: async ({ api, customer: { campaignId } }) => {
          const block = { id: campaignId, status: 2 };
          await api.ok("POST camp/broadcast", { ...block, on: 1, delay: 60, ...welcome });
          await api.ok("POST camp/broadcast", { ...block, delay: 61 });
          await api.ok("POST camp/broadcast", block);
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[2]).toEqual({
            status: 2,
            ...zero,
            on: 1,
            delay: 61,
            ...welcome,
          });
        },
      },
      {
        says: "a block that did not exist starts from the empty one",
        when: async ({ api, customer: { campaignId } }) => {
          await api.ok("POST camp/broadcast", { id: campaignId, status: 2, delay: 9 });
          expect((await api.list("GET camp/broadcast", { id: campaignId }))[2]).toEqual({
            status: 2,
            ...zero,
            delay: 9,
          });
        },
      },
      {
        says: "editing a block that is on needs the feature, unless the call turns it off",
        when: async ({ api, customer }) => {
          const block = { id: customer.campaignId, status: 0 };
          await api.ok("POST camp/broadcast", { ...block, on: 1, text: "Hi" });
          await customer.rebill({ broadcasts: false });
          expect(await api.code("POST camp/broadcast", { ...block, text: "Changed" })).toBe("broadcasts");
          expect(await api.code("POST camp/broadcast", { ...block, on: 0, text: "Changed" })).toBe("ok");
        },
      },
      {
        says: "a block with neither text nor media is stored off, and refused on",
        when: async ({ api, customer: { campaignId } }) => {
          const block = { id: campaignId, status: 0 };
          expect(await api.code("POST camp/broadcast", { ...block, on: 0, text: "" })).toBe("ok");
          expect(await api.code("POST camp/broadcast", { ...block, on: 1 })).toBe("func");
          expect(await api.code("POST camp/broadcast", { ...block, on: 1, text: "Hi" })).toBe("ok");
          expect(await api.code("POST camp/broadcast", { ...block, text: "" })).toBe("func");
        },
      },
    ],
  },
];
