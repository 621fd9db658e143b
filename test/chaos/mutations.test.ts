import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MUTATIONS } from "./mutations.ts";

const root = join(import.meta.dirname, "../..");

describe("the list of guards to break", () => {
  for (const { name, edits } of MUTATIONS) {
    test(`still finds where ${name}`, () => {
      for (const { file, search } of edits) {
        expect(readFileSync(join(root, file), "utf8").split(search).length - 1).toBe(1);
      }
    });
  }
});
