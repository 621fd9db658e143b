import { describe, expect, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type BroadcastSchema, BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { accountId, envelopeOf, setup } from "../gateway-world.ts";

const at = (seconds: number) => ({ seconds: BigInt(seconds) });

const winBack: MessageInitShape<typeof BroadcastSchema> = {
  id: 5n,
  name: "May win-back",
  state: BroadcastState.RUNNING,
  audience: { statuses: [LeadStatus.CANCEL, LeadStatus.TRASH] },
  counters: { queued: 440n, sent: 800n, failed: 0n, unconfirmed: 0n, dropped: 0n },
  total: 1240n,
  startTime: at(1717500000),
  createTime: at(1717490000),
};

describe("list.json", () => {
  test("answers with the reference's example, field by field and in its order", async () => {
    const world = setup({ ListBroadcasts: { broadcasts: [winBack] } });
    const response = await world.get("/api/broadcast/list.json");
    expect(await response.text()).toBe(
      JSON.stringify({
        status: "ok",
        data: [
          {
            id: 5,
            name: "May win-back",
            status: 1,
            statuses: 24,
            campaigns: [],
            total: 1240,
            sent: 800,
            queued: 440,
            failed: 0,
            started: 1717500000,
            created: 1717490000,
          },
        ],
      }),
    );
    expect(world.calls.map(({ rpc, request }) => ({ rpc, request }))).toEqual([
      { rpc: "ListBroadcasts", request: { accountId, limit: 250, beforeId: 0n } },
    ]);
  });

  test("is whole however many pages the service gives, and a page where one is asked for", async () => {
    const all = Array.from({ length: 600 }, (_, n) => BigInt(600 - n));
    const world = setup({
      ListBroadcasts: ({ limit, beforeId }: { limit: number; beforeId: bigint }) => {
        const left = beforeId === 0n ? all : all.filter((id) => id < beforeId);
        // A page may be shorter than it was asked to be.
        const page = left.slice(0, Math.min(limit, 99));
        const broadcasts = page.map((id) => ({ id, state: BroadcastState.DRAFT, createTime: at(1) }));
        return { broadcasts, nextBeforeId: page.length < left.length ? page.at(-1)! : 0n };
      },
    });
    const idsOf = async (query: string) => {
      const { data } = await envelopeOf(world.get(`/api/broadcast/list.json${query}`));
      return (data as { id: number }[]).map(({ id }) => id);
    };
    expect(await idsOf("")).toEqual(all.map(Number));
    expect(await idsOf("?limit=150")).toEqual(all.slice(0, 150).map(Number));
    expect(await idsOf("?limit=150&before=451")).toEqual(all.slice(150, 300).map(Number));
    expect(await idsOf("?before=1")).toEqual([]);
    for (const query of ["?limit=0", "?limit=10001", "?limit=x", "?before=0", "?before=-1"]) {
      const refused = await envelopeOf(world.get(`/api/broadcast/list.json${query}`));
      expect([query, refused.error]).toEqual([query, "func"]);
    }
  });

  test("gives an empty list where there is none", async () => {
    expect(await envelopeOf(setup().get("/api/broadcast/list.json"))).toEqual({ status: "ok", data: [] });
  });

  test("counts statuses from 0 in the reference's order, and has 0 for a start that never was", async () => {
    const states = ["DRAFT", "RUNNING", "DONE", "CANCELLED", "PAUSED"] as const;
    const broadcasts = states.map((name) => ({ id: 1n, state: BroadcastState[name], createTime: at(1) }));
    const reply = await envelopeOf(setup({ ListBroadcasts: { broadcasts } }).get("/api/broadcast/list.json"));
    expect(reply).toMatchObject({ data: [0, 1, 2, 3, 4].map((status) => ({ status, started: 0 })) });
  });
});

describe("quota.json", () => {
  test("answers with the reference's example", async () => {
    const world = setup({ GetQuota: { cap: 500n, used: 120n, queued: 440n } });
    const response = await world.get("/api/broadcast/quota.json");
    expect(await response.text()).toBe('{"status":"ok","data":{"cap":500,"used":120,"queued":440}}');
    expect(world.calls[0]).toMatchObject({ rpc: "GetQuota", request: { accountId } });
  });
});

describe("get.json", () => {
  test("answers with the reference's example, field by field and in its order", async () => {
    const broadcast: MessageInitShape<typeof BroadcastSchema> = {
      ...winBack,
      state: BroadcastState.DONE,
      audience: {
        statuses: [LeadStatus.CANCEL, LeadStatus.TRASH],
        campaignIds: [12n, 18n],
        statusFromTime: at(1714521600),
        statusToTime: at(1717113600),
      },
      body: {
        text: "We miss you — here's 20% off 🎁",
        button: "Claim",
        link: "https://example.com/back?click={click}",
      },
      counters: { queued: 0n, sent: 1240n, failed: 0n, unconfirmed: 0n, dropped: 0n },
      total: 1300n,
      remaining: 60n,
    };
    const world = setup({ GetBroadcast: { broadcast } });
    const response = await world.get("/api/broadcast/get.json?id=5");
    expect(await response.text()).toBe(
      JSON.stringify({
        status: "ok",
        data: {
          id: 5,
          name: "May win-back",
          status: 2,
          statuses: 24,
          campaigns: [12, 18],
          created_from: 0,
          created_to: 0,
          status_from: 1714521600,
          status_to: 1717113600,
          text: "We miss you — here's 20% off 🎁",
          media: "",
          media_type: 0,
          button: "Claim",
          link: "https://example.com/back?click={click}",
          total: 1300,
          remaining: 60,
          queued: 0,
          sent: 1240,
          failed: 0,
          started: 1717500000,
          created: 1717490000,
        },
      }),
    );
    expect(world.calls[0]).toMatchObject({ rpc: "GetBroadcast", request: { accountId, broadcastId: 5n } });
  });
});

describe("add.json", () => {
  test.each([
    ["with a name", { name: "May win-back" }, "May win-back"],
    ["without one", {}, ""],
  ])("creates a draft %s", async (_case, form, name) => {
    const world = setup({ CreateBroadcast: { broadcastId: 5n } });
    const response = await world.post("/api/broadcast/add.json", form as Record<string, string>);
    expect(await response.text()).toBe('{"status":"ok","data":{"id":5}}');
    expect(world.calls[0]).toMatchObject({ rpc: "CreateBroadcast", request: { accountId, name } });
  });
});

describe("edit.json", () => {
  test("passes every field on", async () => {
    const world = setup();
    const response = await world.post("/api/broadcast/edit.json", {
      id: "5",
      name: "June",
      statuses: "21",
      campaigns: "12,18",
      created_from: "1",
      created_to: "2",
      status_from: "3",
      status_to: "4",
      text: "*Hi* {user}",
      media: "m1",
      media_type: "2",
      button: "Go",
      link: "https://example.com/?a=1&b={click}",
    });
    expect(await response.text()).toBe('{"status":"ok"}');
    expect(world.calls[0]).toMatchObject({
      rpc: "UpdateBroadcast",
      request: {
        accountId,
        broadcastId: 5n,
        name: "June",
        audience: {
          statuses: [LeadStatus.WAIT, LeadStatus.APPROVE, LeadStatus.TRASH],
          campaignIds: [12n, 18n],
          createdFromTime: at(1),
          createdToTime: at(2),
          statusFromTime: at(3),
          statusToTime: at(4),
        },
        body: {
          text: "*Hi* {user}",
          media: "m1",
          mediaType: MediaType.VIDEO,
          button: "Go",
          link: "https://example.com/?a=1&b={click}",
        },
      },
    });
  });

  test("replaces what is left out by its zero value, and 0 by no bound", async () => {
    const world = setup();
    await world.post("/api/broadcast/edit.json", { id: "5", created_from: "0" });
    expect(world.calls[0]?.request).toEqual({
      accountId,
      broadcastId: 5n,
      name: "",
      audience: { statuses: [], campaignIds: [] },
      body: { text: "", media: "", mediaType: MediaType.UNSPECIFIED, button: "", link: "" },
    });
  });
});

describe("start.json", () => {
  test.each([60, 0])("tells how many were queued: %d", async (queued) => {
    const world = setup({ StartBroadcast: { queued: BigInt(queued) } });
    const response = await world.post("/api/broadcast/start.json", { id: "5" });
    expect(await response.text()).toBe(JSON.stringify({ status: "ok", data: { queued } }));
    expect(world.calls[0]).toMatchObject({ rpc: "StartBroadcast", request: { accountId, broadcastId: 5n } });
  });
});

describe("an action on a broadcast", () => {
  test.each([
    ["pause", "PauseBroadcast"],
    ["resume", "ResumeBroadcast"],
    ["cancel", "CancelBroadcast"],
    ["reset", "ResetBroadcast"],
    ["del", "DeleteBroadcast"],
    ["test", "SendBroadcastToMyself"],
  ])("%s.json calls %s and answers with no more than ok", async (name, rpc) => {
    const world = setup();
    const response = await world.post(`/api/broadcast/${name}.json`, { id: "5" });
    expect(await response.text()).toBe('{"status":"ok"}');
    expect(world.calls.map((call) => [call.rpc, call.request])).toEqual([[rpc, { accountId, broadcastId: 5n }]]);
  });
});
