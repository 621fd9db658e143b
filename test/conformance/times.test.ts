/** Every time that a request can carry, found in the schemas themselves: a field that is added needs a row here. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { DescMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { failureOf } from "#test/support/rpc-failure.ts";
import { createCustomer } from "./customer.ts";
import { createRestApi } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

type Time = Pick<Timestamp, "seconds" | "nanos">;

interface Row {
  /** May be any time to come. */
  future: boolean;
  call: (time: Time) => Promise<unknown>;
}

let stack: Stack;
let rows: Record<string, Row>;
let restAudience: (fields: Record<string, unknown>) => Promise<Record<string, unknown>>;

beforeAll(async () => {
  stack = await createStack();
  const customer = await createCustomer(stack);
  const { accountId } = customer;
  const { account, campaign } = stack.platform;
  const campaignId = BigInt(customer.campaignId);
  const leadId = BigInt((await customer.putLeads(1))[0]!);
  const { broadcastId } = await stack.customer.broadcast.createBroadcast({ accountId, name: "" });
  const { tariff } = await account.getAccount({ accountId });
  const other = { name: "of times", tariffId: tariff!.id };
  const bound = (name: string): Row => ({
    future: true,
    call: (time) =>
      stack.customer.broadcast.updateBroadcast({ accountId, broadcastId, audience: { statuses: [1], [name]: time } }),
  });
  let chatId = 5_000_000_000n;
  const lead = (times: { statusTime: Time; createTime?: Time }) => {
    const leads = [{ chatId: ++chatId, status: LeadStatus.WAIT, ...times }];
    return campaign.putLeads({ accountId, campaignId, leads });
  };
  rows = {
    "PutAccount account.paid_until_time": {
      future: true,
      call: (paidUntilTime) => account.putAccount({ account: { ...other, paidUntilTime } }),
    },
    "PutLeads leads.status_time": { future: false, call: (statusTime) => lead({ statusTime }) },
    "PutLeads leads.create_time": {
      future: false,
      call: (createTime) => lead({ statusTime: { seconds: 1n, nanos: 0 }, createTime }),
    },
    "SetLeadStatus status_time": {
      future: false,
      call: (statusTime) => campaign.setLeadStatus({ accountId, leadId, status: LeadStatus.HOLD, statusTime }),
    },
    "ListAuditEntries from_time": {
      future: true,
      call: (fromTime) => account.listAuditEntries({ accountId, fromTime }),
    },
    "ListAuditEntries to_time": { future: true, call: (toTime) => account.listAuditEntries({ accountId, toTime }) },
    "OptOutLead change_time": {
      future: true,
      call: (changeTime) => campaign.optOutLead({ accountId, leadId, optedOut: false, changeTime }),
    },
    "SetLeadReachable change_time": {
      future: true,
      call: (changeTime) =>
        campaign.setLeadReachable({
          accountId,
          botId: BigInt(customer.botId),
          chatId: 1n,
          reachable: true,
          changeTime,
        }),
    },
    "UpdateBroadcast audience.created_from_time": bound("createdFromTime"),
    "UpdateBroadcast audience.created_to_time": bound("createdToTime"),
    "UpdateBroadcast audience.status_from_time": bound("statusFromTime"),
    "UpdateBroadcast audience.status_to_time": bound("statusToTime"),
  };
  const rest = createRestApi(stack.gateway, customer.session);
  restAudience = async (fields) => {
    await rest.ok("POST broadcast/edit", { id: Number(broadcastId), statuses: 1, ...fields });
    return (await rest.ok("GET broadcast/get", { id: Number(broadcastId) })) as unknown as Record<string, unknown>;
  };
});
afterAll(() => stack.stop());

function timesOf(message: DescMessage, path: string[] = []): string[] {
  return message.fields.flatMap((field) => {
    if (field.message === undefined) return [];
    const here = [...path, field.name];
    return field.message.typeName === "google.protobuf.Timestamp" ? [here.join(".")] : timesOf(field.message, here);
  });
}

function requestTimes(): string[] {
  const services = [AccountService, CampaignService, BroadcastService, DeliveryService];
  return services.flatMap(({ methods }) =>
    methods.flatMap(({ name, input }) => timesOf(input).map((path) => `${name} ${path}`)),
  );
}

const LAST: Time = { seconds: 253_402_300_799n, nanos: 999_999_999 };
const nowSeconds = () => BigInt(Math.floor(Date.now() / 1000));

/** What no Timestamp of JSON can be, and what the binary format brings all the same. */
const outside: Time[] = [
  { seconds: LAST.seconds + 1n, nanos: 0 },
  { seconds: 2n ** 63n - 1n, nanos: 0 },
  { seconds: -(2n ** 63n), nanos: 0 },
  { seconds: -1n, nanos: 999_999_999 },
  { seconds: -62_135_596_800n, nanos: 0 },
  { seconds: 1n, nanos: -1 },
  { seconds: 1n, nanos: 1_000_000_000 },
  { seconds: 1n, nanos: 2 ** 31 - 1 },
];

describe("a time in a request", () => {
  test("is known to this test, whichever call it belongs to", () => {
    expect(requestTimes().sort()).toEqual(Object.keys(rows).sort());
  });

  test("is refused outside the years 1970 to 9999, and named", async () => {
    for (const [name, { call }] of Object.entries(rows)) {
      const field = name.split(" ")[1]!.replace("leads.", "leads[0].");
      for (const time of outside) expect(await failureOf(call(time))).toMatchObject({ reason: 5, field });
    }
  });

  test("is stored up to the last nanosecond of 9999 where it may be in the future, and refused where it may not", async () => {
    for (const [name, { call, future }] of Object.entries(rows)) {
      if (future) await call(LAST);
      else expect(`${name}: ${(await failureOf(call(LAST))).message}`).toContain("five minutes ahead");
    }
  });

  test("that has happened may be as much ahead as clocks differ, and no more", async () => {
    for (const { call } of Object.values(rows).filter(({ future }) => !future)) {
      await call({ seconds: nowSeconds() + 200n, nanos: 0 });
      expect(await failureOf(call({ seconds: nowSeconds() + 400n, nanos: 0 }))).toMatchObject({ reason: 5 });
    }
  });

  test("is stored or refused as INVALID_ARGUMENT, whatever it is", async () => {
    const time = fc.record({
      seconds: fc.oneof(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.bigInt({ min: 1n, max: LAST.seconds }),
      ),
      nanos: fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.integer({ min: 0, max: 999_999_999 })),
    });
    const property = fc.asyncProperty(fc.constantFrom(...Object.values(rows)), time, async ({ call }, value) => {
      const reason = await call(value).then(
        () => 5,
        async (error: unknown) => (await failureOf(Promise.reject(error))).reason,
      );
      expect(reason).toBe(5);
    });
    await fc.assert(property, { numRuns: 150 });
    expect(stack.errors).toEqual([]);
  });

  test("of a filter is never the one that REST writes for no bound", async () => {
    for (const [name, { call }] of Object.entries(rows).filter(([name]) => name.includes("audience"))) {
      expect(await failureOf(call({ seconds: 0n, nanos: 5 }))).toMatchObject({ reason: 5, field: name.split(" ")[1] });
    }
  });

  test("comes back through REST as it was, from 1970 to 9999", async () => {
    for (const seconds of [1, 1_767_225_600, Number(LAST.seconds)]) {
      expect(await restAudience({ created_to: seconds, status_from: seconds })).toMatchObject({
        created_from: 0,
        created_to: seconds,
        status_from: seconds,
        status_to: 0,
      });
    }
  });
});
