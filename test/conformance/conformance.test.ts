/** Every statement of the reference and of contract section 3, by REST and by RPC. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { proveRow, type Section } from "./row.ts";
import { blockSections } from "./rows/blocks.ts";
import { broadcastSections } from "./rows/broadcasts.ts";
import { errorSections } from "./rows/errors.ts";
import { lifeCycleSections } from "./rows/life-cycle.ts";
import { limitSections } from "./rows/limits.ts";
import { silentSections } from "./rows/silent.ts";
import { createStack, type Stack } from "./stack.ts";

const sections: Section[] = [
  ...blockSections,
  ...broadcastSections,
  ...lifeCycleSections,
  ...silentSections,
  ...errorSections,
  ...limitSections,
];

let stack: Stack;
beforeAll(async () => {
  stack = await createStack();
});
afterAll(async () => {
  const { errors } = stack;
  await stack.stop();
  expect(errors).toEqual([]);
});

for (const { from, rows } of sections) {
  describe(from, () => {
    // Each row has accounts of its own, and most of them wait for messages to arrive.
    for (const row of rows) test.concurrent(row.says, () => proveRow(stack, row), 60_000);
  });
}
