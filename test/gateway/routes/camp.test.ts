import { describe, expect, test } from "bun:test";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { accountId, envelopeOf, setup } from "../gateway-world.ts";

const zeroBlock = { on: 0, delay: 0, text: "", media: "", media_type: 0, button: "", link: "" };

describe("GET camp/broadcast.json", () => {
  test("answers with the reference's example, field by field and in its order", async () => {
    const blocks = [
      {
        status: LeadStatus.WAIT,
        on: true,
        delaySeconds: 1800,
        body: {
          text: "Welcome! Tap below to continue 👇",
          button: "Open",
          link: "https://example.com/l?click={click}",
        },
      },
      ...[LeadStatus.HOLD, LeadStatus.APPROVE, LeadStatus.CANCEL, LeadStatus.TRASH].map((status) => ({ status })),
    ];
    const world = setup({ ListBlocks: { blocks } });
    const response = await world.get("/api/camp/broadcast.json?id=12");
    expect(await response.text()).toBe(
      JSON.stringify({
        status: "ok",
        data: [
          {
            status: 0,
            on: 1,
            delay: 1800,
            text: "Welcome! Tap below to continue 👇",
            media: "",
            media_type: 0,
            button: "Open",
            link: "https://example.com/l?click={click}",
          },
          ...[1, 2, 3, 4].map((status) => ({ status, ...zeroBlock })),
        ],
      }),
    );
    expect(world.calls[0]).toMatchObject({ rpc: "ListBlocks", request: { accountId, campaignId: 12n } });
  });
});

describe("POST camp/broadcast.json", () => {
  test("passes every field on", async () => {
    const world = setup();
    const response = await world.post("/api/camp/broadcast.json", {
      id: "12",
      status: "4",
      on: "1",
      delay: "31536000",
      text: "Hi",
      media: "m1",
      media_type: "1",
      button: "Open",
      link: "https://example.com",
    });
    expect(await response.text()).toBe('{"status":"ok"}');
    expect(world.calls[0]).toMatchObject({
      rpc: "SaveBlock",
      request: {
        accountId,
        campaignId: 12n,
        status: LeadStatus.TRASH,
        on: true,
        delaySeconds: 31_536_000,
        text: "Hi",
        media: "m1",
        mediaType: MediaType.PHOTO,
        button: "Open",
        link: "https://example.com",
      },
    });
  });

  test("leaves out what was left out, so that it keeps its stored value", async () => {
    const world = setup();
    await world.post("/api/camp/broadcast.json", { id: "12", status: "0", on: "0" });
    expect(world.calls[0]?.request).toEqual({ accountId, campaignId: 12n, status: LeadStatus.WAIT, on: false });
  });

  test("tells an empty text from one that was left out", async () => {
    const world = setup();
    await world.post("/api/camp/broadcast.json", { id: "12", status: "0", text: "", media: "", media_type: "0" });
    expect(world.calls[0]?.request).toMatchObject({ text: "", media: "", mediaType: MediaType.UNSPECIFIED });
  });

  test.each([
    ["no id", { status: "0" }, "id"],
    ["no status", { id: "12" }, "status"],
    ["a status of 5", { id: "12", status: "5" }, "status"],
    ["on that is 2", { id: "12", status: "0", on: "2" }, "on"],
    ["on that is empty", { id: "12", status: "0", on: "" }, "on"],
    ["a delay of more than a year", { id: "12", status: "0", delay: "31536001" }, "delay"],
    ["a media type of 3", { id: "12", status: "0", media_type: "3" }, "media_type"],
  ])("refuses %s, and names the parameter", async (_case, form, name) => {
    const world = setup();
    const reply = await envelopeOf(world.post("/api/camp/broadcast.json", form as Record<string, string>));
    expect(reply).toMatchObject({ status: "error", error: "func" });
    expect(reply.message).toStartWith(`${name} `);
    expect(world.calls).toEqual([]);
  });
});

describe("camp/btest.json", () => {
  test("asks for the preview of one block", async () => {
    const world = setup();
    const response = await world.post("/api/camp/btest.json", { id: "12", status: "2" });
    expect(await response.text()).toBe('{"status":"ok"}');
    expect(world.calls[0]).toMatchObject({
      rpc: "SendBlockToMyself",
      request: { accountId, campaignId: 12n, status: LeadStatus.APPROVE },
    });
  });
});

describe("camp/list.json", () => {
  test("gives the campaigns with their bots", async () => {
    const campaigns = [
      { id: 18n, accountId, botId: 3n, name: "Spring", code: "spr", state: CampaignState.PAUSED },
      { id: 12n, accountId, botId: 2n, name: "Winter", code: "win", state: CampaignState.LIVE },
    ];
    const world = setup({ ListCampaigns: { campaigns } });
    expect(await (await world.get("/api/camp/list.json")).text()).toBe(
      JSON.stringify({
        status: "ok",
        data: [
          { id: 18, name: "Spring", code: "spr", bot: 3, paused: 1 },
          { id: 12, name: "Winter", code: "win", bot: 2, paused: 0 },
        ],
      }),
    );
    expect(world.calls[0]?.request).toEqual({ accountId, limit: 250, beforeId: 0n });
  });
});
