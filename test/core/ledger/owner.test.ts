/** Who writes the ledger's tables, and who reads them: the statements in the services' sources, not those of benches and tests. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../../..");
const OWNER = "services/core/ledger/";

const TABLES = '(?:ONLY\\s+)?(?:public\\.)?"?(?:send|send_counter|retired_source)"?(?![\\w.])';
const WRITES = new RegExp(
  `\\b(?:INSERT\\s+INTO|UPDATE|DELETE\\s+FROM|TRUNCATE(?:\\s+TABLE)?|MERGE\\s+INTO|COPY)\\s+${TABLES}`,
  "i",
);
const READS = new RegExp(`\\b(?:FROM|JOIN|USING|TABLE)\\s+(?:\\w+(?:\\s+\\w+)?,\\s*)*${TABLES}`, "i");
/** The tables as Drizzle's objects: whoever has them can write. */
const OBJECTS =
  /\b(?:schema\.(?:send|sendCounter|retiredSource)\b|import[^;]*\b(?:sendCounter|retiredSource|send)\b[^;]*database\/schema)/;

/** Files that read the ledger for what they alone decide. */
const READERS: Record<string, string> = {
  "services/broadcast/bot-fault-store.ts":
    "whether a bot at fault keeps a broadcast waiting is asked together with its holds",
  "services/broadcast/relay-store.ts":
    "what is published next is read by plans of its own, some microseconds for each bot",
  "services/delivery/holds-store.ts": "what a held bot is tried with is chosen together with its refusals",
};

interface Source {
  file: string;
  /** Template literals, with what is between them where they are nested. */
  statements: string[];
  text: string;
}

const sources: Source[] = [...new Bun.Glob("{services,gateway}/**/*.ts").scanSync(root)].sort().map((file) => {
  const text = readFileSync(join(root, file), "utf8");
  return { file, text, statements: text.match(/`[^`]*`/g) ?? [] };
});

const owned = sources.filter(({ file }) => file.startsWith(OWNER));
const others = sources.filter(
  ({ file }) => !file.startsWith(OWNER) && !file.startsWith("services/core/database/schema/"),
);

const filesWith = (files: Source[], pattern: RegExp) =>
  files.filter(({ statements }) => statements.some((text) => pattern.test(text))).map(({ file }) => file);

describe("the ledger's tables", () => {
  test("are written by the ledger alone", () => {
    expect(filesWith(others, WRITES)).toEqual([]);
    expect(others.filter(({ text }) => OBJECTS.test(text)).map(({ file }) => file)).toEqual([]);
  });

  test("are read by nobody else but for a reason that is named here", () => {
    expect(filesWith(others, READS)).toEqual(Object.keys(READERS).sort());
  });

  test("are written by a file for each verb", () => {
    const verbs = ["enqueue", "schedule", "rescue", "doubt", "erase", "prune"];
    expect(filesWith(owned, WRITES)).toEqual(expect.arrayContaining(verbs.map((verb) => `${OWNER}${verb}.ts`)));
  });

  test("are recognised in every form of a statement", () => {
    const writes = [
      "insert into send (a)",
      "UPDATE send s SET",
      "DELETE FROM ONLY send_counter",
      "TRUNCATE send, lead",
    ];
    expect(writes.filter((text) => !WRITES.test(text))).toEqual([]);
    const reads = ["SELECT FROM send s", "FROM lead l, send s", "LEFT JOIN send_counter", 'FROM "send"', "TABLE send"];
    expect(reads.filter((text) => !READS.test(text))).toEqual([]);
    expect(
      ["FROM sender", "UPDATE send_counters SET", "FROM send.x"].filter(
        (text) => READS.test(text) || WRITES.test(text),
      ),
    ).toEqual([]);
  });
});
