/** A bot is its number, with a Bot API that says which tokens it knows. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { otherTokenOf } from "#test/support/bot-token.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { createCustomer } from "./customer.ts";
import { createStack, type Stack } from "./stack.ts";

let stack: Stack;
beforeAll(async () => {
  stack = await createStack();
});
afterAll(() => stack.stop());

const put = (accountId: bigint, token: string, id?: number) =>
  stack.platform.campaign.putBot({ bot: { id: BigInt(id ?? 0), accountId, token } });

describe("a second bot with the number of one that is there", () => {
  test("is refused while the Bot API knows that one's token, so that nothing sends at twice the pace", async () => {
    const customer = await createCustomer(stack);
    const other = await createCustomer(stack);

    for (const accountId of [customer.accountId, other.accountId]) {
      expect(await reasonOf(put(accountId, customer.botToken))).toBe("WRONG_STATE");
      expect(await reasonOf(put(accountId, otherTokenOf(customer.botToken)))).toBe("WRONG_STATE");
    }
    expect(await reasonOf(put(customer.accountId, other.botToken, customer.botId))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(put(customer.accountId, `${stack.serviceBotId}:any-token-of-it`))).toBe("WRONG_STATE");
  });

  test("gets the number when the Bot API refuses that one's token and knows the new one", async () => {
    const customer = await createCustomer(stack, { leads: 2 });
    const heir = await createCustomer(stack);
    await stack.sandbox.control.revokeToken(customer.botToken);

    const { bot } = await put(heir.accountId, otherTokenOf(customer.botToken));

    const rows = await stack.sql`
      SELECT id, number FROM bot WHERE id IN (${customer.botId}, ${Number(bot!.id)}) ORDER BY id`;
    expect([...rows]).toEqual([
      { id: customer.botId, number: null },
      { id: Number(bot!.id), number: customer.botNumber },
    ]);
    const { lanes } = await stack.platform.delivery.listLanes({});
    expect(lanes.map(({ botId }) => Number(botId))).toContain(customer.botId);
  });
});
