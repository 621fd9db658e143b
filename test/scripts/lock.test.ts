import { describe, expect, test } from "bun:test";
import { type LockEntry, lockProblems } from "../../scripts/lock.ts";

const integrity = `sha512-${"A".repeat(86)}==`;
const lockOf = (entry: LockEntry) => ({ packages: { "": {}, "node_modules/one": entry } });

describe("the lock", () => {
  test("may hold what is pinned by a hash, and nothing else", () => {
    expect(lockProblems(lockOf({ version: "1.0.0", integrity }))).toEqual([]);
    const wrong: LockEntry[] = [
      {},
      { integrity: "" },
      { integrity: "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=" },
      { integrity: `${integrity} sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=` },
      { integrity, resolved: "https://registry.example/one-1.0.0.tgz" },
      { integrity, resolved: "git+ssh://git@example.com/one.git#0000000" },
      { integrity, link: true },
    ];
    for (const entry of wrong) expect(lockProblems(lockOf(entry))).toHaveLength(1);
  });

  test("needs a reason for what has no hash, and no reason for what has one", () => {
    const exceptions = { "node_modules/one": "the registry has none" };

    expect(lockProblems(lockOf({}), exceptions)).toEqual([]);
    expect(lockProblems(lockOf({ integrity }), exceptions)).toHaveLength(1);
    expect(lockProblems({ packages: {} }, exceptions)).toHaveLength(1);
  });
});
