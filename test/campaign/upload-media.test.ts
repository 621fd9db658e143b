import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "@connectrpc/connect";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { apng, mp4, png, webpExtended } from "#test/core/media/files.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { startService } from "#test/support/service-process.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

const { PHOTO, VIDEO } = MediaType;

describe("UploadMedia", () => {
  test("answers with a ref and the type, the same for the same bytes", async () => {
    const { accountId } = await world.customer();
    const upload = (content: Uint8Array) => world.client.uploadMedia({ accountId, content });

    const photo = await upload(png());

    expect(photo.media).toMatch(/^[\w-]{22}$/);
    expect(photo.mediaType).toBe(PHOTO);
    expect((await upload(png())).media).toBe(photo.media);
    expect((await upload(mp4())).mediaType).toBe(VIDEO);
  });

  test("says of an animated picture, each time, that it will not move", async () => {
    const { accountId } = await world.customer();
    const note = async (content: Uint8Array) => (await world.client.uploadMedia({ accountId, content })).note;
    expect(await note(apng())).toContain("first frame");
    expect(await note(apng())).toContain("first frame");
    expect(await note(webpExtended({ width: 9, height: 9, frames: 2 }))).toContain("MP4");
    expect([await note(png()), await note(mp4())]).toEqual(["", ""]);
  });

  test("refuses a file that cannot be sent with a sentence for people", async () => {
    const { accountId } = await world.customer();
    const call = world.client.uploadMedia({ accountId, content: new TextEncoder().encode("no picture") });

    expect(await failureOf(call)).toEqual({
      reason: 5,
      field: "content",
      message: "The file is of a kind that cannot be sent: give a JPEG, PNG or WebP picture, or an MP4 video.",
    });
  });

  test("turns away an account that has not paid or is not there", async () => {
    const { accountId } = await world.customer({ paid: false });

    expect(await reasonOf(world.client.uploadMedia({ accountId, content: png() }))).toBe("UNPAID");
    expect(await reasonOf(world.client.uploadMedia({ accountId: 999_999n, content: png() }))).toBe("NOT_YOURS");
  });

  test("of 20 at once waits or refuses as too many, and keeps what it has taken", async () => {
    const { accountId } = await world.customer();

    const replies = await Promise.allSettled(
      Array.from({ length: 20 }, (_, seed) => world.client.uploadMedia({ accountId, content: png({ seed }) })),
    );

    const taken = replies.filter((reply) => reply.status === "fulfilled").length;
    expect(taken).toBeGreaterThanOrEqual(15);
    const [row] = await world.sql<{ files: number }[]>`
      SELECT count(*)::int AS files FROM media WHERE account_id = ${Number(accountId)}`;
    expect(row!.files).toBe(taken);
  });
});

describe("the campaign process", () => {
  test("takes the longest video that may be sent over its port, and not a byte more", async () => {
    const secret = "platform-secret-0001";
    await using service = await startCampaign(secret);
    const transport = createRpcTransport({ baseUrl: `http://127.0.0.1:${service.port}`, token: secret });
    const client = createClient(CampaignService, transport);
    const { accountId } = await world.customer();
    const content = (bytes: number) => mp4({ content: bytes - mp4({ content: 0 }).length });
    const limit = 50 * 1024 * 1024;

    expect((await client.uploadMedia({ accountId, content: content(limit) })).mediaType).toBe(VIDEO);
    const tooLong = await failureOf(client.uploadMedia({ accountId, content: content(limit + 1) }));

    expect(tooLong).toMatchObject({ reason: 5, field: "content" });
    const [row] = await world.sql`SELECT bytes FROM media_usage WHERE account_id = ${Number(accountId)}`;
    expect(row).toEqual({ bytes: limit });
  });
});

async function startCampaign(secret: string) {
  const service = await startService("services/campaign/main.ts", {
    DATABASE_URL: world.url,
    CAMPAIGN_PORT: "0",
    RPC_TOKENS: JSON.stringify([
      { name: "platform", secret, allow: ["*"] },
      { name: "campaign", secret: `${secret}-of-campaign`, allow: [] },
    ]),
    SECRET_KEYS: world.secretKeys,
  });
  return Object.assign(service, { [Symbol.asyncDispose]: async () => void (await service.stop()) });
}

describe("SaveBlock with media", () => {
  async function setup() {
    const { accountId, campaignId } = await world.customer();
    const { media } = await world.client.uploadMedia({ accountId, content: png() });
    const save = (patch: { media?: string; mediaType?: MediaType; on?: boolean; text?: string }) =>
      world.client.saveBlock({ accountId, campaignId, status: LeadStatus.WAIT, ...patch });
    return { accountId, media, save };
  }

  test("stores the account's own, which alone is a message, and keeps it when something else changes", async () => {
    const { media, save } = await setup();

    await save({ media, mediaType: PHOTO, on: true });
    const { block } = await save({ text: "Hi" });

    expect(block).toMatchObject({ on: true, body: { text: "Hi", media, mediaType: PHOTO } });
    expect((await save({ media: "" })).block!.body).toMatchObject({ media: "", mediaType: 0 });
  });

  test("refuses in the same words another account's ref, an absent one and one of the other type", async () => {
    const { media, save } = await setup();
    const other = await setup();
    const absent = await failureOf(save({ media: "AAAAAAAAAAAAAAAAAAAAAA", mediaType: PHOTO }));

    expect(absent).toMatchObject({ reason: 5, field: "media" });
    expect(await failureOf(other.save({ media, mediaType: PHOTO }))).toEqual(absent);
    expect(await failureOf(save({ media, mediaType: VIDEO }))).toEqual(absent);
    const { block } = await save({});
    expect(block!.body).toMatchObject({ media: "", mediaType: 0 });
  });
});
