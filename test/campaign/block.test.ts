import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SaveBlockRequestSchema } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

type Patch = Omit<MessageInitShape<typeof SaveBlockRequestSchema>, "$typeName" | "accountId" | "campaignId" | "status">;

async function setup(account: { broadcasts?: boolean } = {}) {
  const { accountId, campaignId } = await world.customer(account);
  const save = (patch: Patch, status = LeadStatus.WAIT) =>
    world.client.saveBlock({ accountId, campaignId, status, ...patch });
  const row = async () => {
    const [found] = await world.sql`SELECT * FROM block WHERE campaign_id = ${Number(campaignId)} AND status = 0`;
    return found;
  };
  return { accountId, campaignId, save, row };
}

describe("ListBlocks", () => {
  test("returns five, in the order of the statuses, with zero blocks where there is none", async () => {
    const { accountId, campaignId, save } = await setup();
    await save({ text: "Hi", delaySeconds: 60 }, LeadStatus.APPROVE);

    const { blocks } = await world.client.listBlocks({ accountId, campaignId });

    expect(blocks.map((block) => block.status)).toEqual([1, 2, 3, 4, 5]);
    expect(blocks[2]).toMatchObject({ delaySeconds: 60, body: { text: "Hi" } });
    for (const index of [0, 1, 3, 4]) {
      expect(blocks[index]).toMatchObject({
        on: false,
        delaySeconds: 0,
        body: { text: "", media: "", mediaType: 0, button: "", link: "" },
      });
    }
  });
});

describe("SaveBlock", () => {
  test("keeps what is left out", async () => {
    const { save } = await setup();
    await save({ text: "Hello", delaySeconds: 30, button: "Open", link: "https://example.com/?c={click}" });

    const { block } = await save({ on: true });

    expect(block).toMatchObject({
      on: true,
      delaySeconds: 30,
      body: { text: "Hello", button: "Open", link: "https://example.com/?c={click}" },
    });
    expect((await save({ text: "", button: "", link: "", on: false })).block).toMatchObject({
      delaySeconds: 30,
      body: { text: "", button: "", link: "" },
    });
  });

  test("stores the text parsed, and raises the revision with the body only", async () => {
    const { save, row } = await setup();
    await save({ text: "Hi *you*" });
    const first = await row();
    await save({ on: true, delaySeconds: 5 });
    await save({ text: "Hi *you*" });
    const same = await row();
    await save({ text: "Bye" });
    const changed = await row();

    expect(first!.parsed).toEqual({ text: "Hi you", entities: [{ type: "bold", offset: 3, length: 3 }] });
    expect(same!.revision).toBe(first!.revision);
    expect(changed).toMatchObject({ revision: first!.revision + 1, source_id: first!.source_id });
    expect(changed!.parsed).toEqual({ text: "Bye", entities: [] });
  });

  test("gives every block a source of its own", async () => {
    const { campaignId, save } = await setup();
    for (const status of [1, 2, 3, 4, 5]) await save({ text: "x" }, status);

    const rows = await world.sql`SELECT DISTINCT source_id FROM block WHERE campaign_id = ${Number(campaignId)}`;
    expect(rows).toHaveLength(5);
  });

  const withoutFeature: [string, Patch, { on: boolean }, string][] = [
    ["editing one that is off", { text: "new" }, { on: false }, "ok"],
    ["turning one off", { on: false }, { on: true }, "ok"],
    ["turning one off and editing it", { on: false, text: "new" }, { on: true }, "ok"],
    ["turning one on", { on: true }, { on: false }, "FEATURE_MISSING"],
    ["editing one that is on", { text: "new" }, { on: true }, "FEATURE_MISSING"],
    ["a delay of one that is on", { delaySeconds: 1 }, { on: true }, "FEATURE_MISSING"],
    ["emptying one that is on: the feature comes first", { text: "" }, { on: true }, "FEATURE_MISSING"],
    [
      "a text that cannot be parsed for one that is on: parameters come first",
      { text: "*" },
      { on: true },
      "INVALID_ARGUMENT",
    ],
    ["a bad body of one that is off", { text: "*" }, { on: false }, "INVALID_ARGUMENT"],
  ];
  test.each(withoutFeature)("without the feature: %s", async (_name, patch, { on }, outcome) => {
    const { save, row } = await setup({ broadcasts: false });
    await save({ text: "old" });
    if (on) await world.sql`UPDATE block SET "on" = true WHERE text = 'old'`;
    const before = await row();

    if (outcome === "ok") return void (await save(patch));
    expect(await reasonOf(save(patch))).toBe(outcome);
    expect(await row()).toEqual(before);
  });

  const withFeature: [string, Patch, Patch, string][] = [
    ["turning on without a body", {}, { on: true }, "BODY_INVALID"],
    ["turning on with blank text", {}, { on: true, text: "  \n" }, "BODY_INVALID"],
    ["turning on with a button alone", {}, { on: true, button: "a", link: "https://a.example" }, "BODY_INVALID"],
    ["emptying one that is on", { on: true, text: "x" }, { text: "" }, "BODY_INVALID"],
    ["emptying one while turning it off", { on: true, text: "x" }, { text: "", on: false }, "ok"],
    ["an empty block that is off", {}, { text: "" }, "ok"],
    ["unbalanced Markdown", {}, { text: "*oops" }, "INVALID_ARGUMENT"],
    ["a text that is too long", {}, { text: "x".repeat(4097) }, "INVALID_ARGUMENT"],
    ["a caption without a link", {}, { button: "Open" }, "INVALID_ARGUMENT"],
    ["a link without a dot", {}, { button: "Open", link: "https://localhost/" }, "INVALID_ARGUMENT"],
    ["unknown media", {}, { media: "abc", mediaType: 1 }, "INVALID_ARGUMENT"],
    ["a media type without media", {}, { mediaType: 1 }, "INVALID_ARGUMENT"],
    ["a delay above a year", {}, { delaySeconds: 31_536_001 }, "INVALID_ARGUMENT"],
    ["a negative delay", {}, { delaySeconds: -1 }, "INVALID_ARGUMENT"],
    ["NUL in the text", {}, { text: "a\0b" }, "INVALID_ARGUMENT"],
  ];
  test.each(withFeature)("with the feature: %s", async (_name, stored, patch, outcome) => {
    const { save, row } = await setup();
    await save(stored);
    const before = await row();

    if (outcome === "ok") return void (await save(patch));
    expect(await reasonOf(save(patch))).toBe(outcome);
    expect(await row()).toEqual(before);
  });

  test("names the field at fault", async () => {
    const { save } = await setup();

    expect(await failureOf(save({ text: "*oops" }))).toMatchObject({ field: "text" });
    expect(await failureOf(save({ media: "abc", mediaType: 2 }))).toMatchObject({ field: "media" });
    expect(await failureOf(save({ text: "x" }, LeadStatus.UNSPECIFIED))).toMatchObject({ field: "status" });
    expect(await failureOf(save({ text: "x" }, 6 as LeadStatus))).toMatchObject({ field: "status" });
  });

  test("leaves no trace of a new block that it refuses", async () => {
    const { save, row } = await setup();

    expect(await reasonOf(save({ on: true }))).toBe("BODY_INVALID");
    expect(await row()).toBeUndefined();
  });

  test("makes a block once and loses no call's fields when many save at the same time", async () => {
    const { save, row } = await setup();

    const calls = [save({ text: "t" }), save({ delaySeconds: 7 }), save({ button: "b", link: "https://b.example/" })];
    await Promise.all(calls);

    expect(await row()).toMatchObject({ text: "t", delay_seconds: 7, button: "b", link: "https://b.example/" });
  });
});
