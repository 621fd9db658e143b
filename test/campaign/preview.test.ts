import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

describe("SendBlockToMyself", () => {
  let world: World;

  beforeAll(async () => {
    world = await createWorld();
  });

  afterAll(() => world.drop());

  async function linkedCustomer() {
    const customer = await world.customer();
    await world.sql`UPDATE account SET telegram_chat_id = 4242 WHERE id = ${Number(customer.accountId)}`;
    return customer;
  }

  test("hands the saved text and button to delivery, on or off", async () => {
    const { accountId, campaignId } = await linkedCustomer();
    const block = { accountId, campaignId, status: LeadStatus.HOLD };
    await world.client.saveBlock({ ...block, text: "Hi {user}", button: "Go", link: "https://example.com/" });

    await world.client.sendBlockToMyself(block);

    const preview = { previewTo: 4242n, text: "Hi {user}", button: "Go", link: "https://example.com/" };
    expect(world.asked.at(-1)).toEqual(preview);
  });

  test("says that there is nothing to show where no text was saved", async () => {
    const { accountId, campaignId } = await linkedCustomer();

    const call = world.client.sendBlockToMyself({ accountId, campaignId, status: LeadStatus.TRASH });

    expect(await reasonOf(call)).toBe("BODY_INVALID");
  });

  test("says how to link a chat where none is", async () => {
    const { accountId, campaignId } = await world.customer();

    const call = world.client.sendBlockToMyself({ accountId, campaignId, status: LeadStatus.WAIT });

    expect(await reasonOf(call)).toBe("NOT_SET_UP");
  });

  test("gives another account's campaign the answer of one that does not exist", async () => {
    const { campaignId } = await linkedCustomer();
    const { accountId } = await linkedCustomer();

    const foreign = world.client.sendBlockToMyself({ accountId, campaignId, status: LeadStatus.WAIT });
    const absent = world.client.sendBlockToMyself({ accountId, campaignId: 999_999n, status: LeadStatus.WAIT });

    expect(await reasonOf(foreign)).toBe("NOT_YOURS");
    expect(await reasonOf(absent)).toBe("NOT_YOURS");
  });
});
