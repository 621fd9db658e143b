/** The documents' `curl` examples, pasted into one shell in order, against real processes with the demo account. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { demoSession, seedDemo } from "#services/local/supervisor/seed.ts";
import { png } from "#test/core/media/files.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/folder.ts";
import { type ServiceName, type System, withSystem } from "../support/system.ts";
import { type CurlExample, curlExamples, readDocument } from "./markdown.ts";

/** Six processes start for each test, on a machine that may be busy with others. */
setDefaultTimeout(120_000);

const ports: Record<string, ServiceName> = {
  8080: "gateway",
  7001: "account",
  7002: "campaign",
  7003: "broadcast",
  7004: "delivery",
};

/** A folder like the one in which `npm start` was called, after it has made the demo account. */
async function startFolder(system: System): Promise<string> {
  const folder = temporaryFolder("documents");
  mkdirSync(join(folder, ".data"));
  const sessionPath = join(folder, ".data", "session");
  const options = {
    accountUrl: system.urlOf("account"),
    campaignUrl: system.urlOf("campaign"),
    token: system.platformToken,
    seededPath: join(folder, ".data", "seeded"),
    sessionPath,
  };
  await seedDemo(options);
  await demoSession(options);
  writeFileSync(join(folder, ".data", "rpc-tokens.json"), JSON.stringify({ platform: system.platformToken }));
  writeFileSync(join(folder, "banner.png"), png());
  return folder;
}

const endOfExample = "--- end of an example ---";

/** Runs the examples in one shell, as somebody who reads from top to bottom would, and gives each one's lines. */
async function paste(examples: readonly CurlExample[], system: System): Promise<string[][]> {
  const script = examples.map((example) => `${example.script}\necho '${endOfExample}'\n`).join("");
  const here = script.replaceAll(/http:\/\/127\.0\.0\.1:(\d+)/g, (_url, port: string) => system.urlOf(ports[port]!));
  const cwd = await startFolder(system);
  const shell = Bun.spawn(["sh", "-u", "-c", here], { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([shell.stdout.text(), shell.stderr.text(), shell.exited]);
  expect(errors).toBe("");
  const lines = (text: string) => text.split("\n").filter((line) => line !== "");
  return output.split(endOfExample).slice(0, -1).map(lines);
}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Moments, refs, and how far a broadcast that runs has come are others each time. */
function comparable(value: Json): Json {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, member]) => [name, comparable(member)]);
  const object: { [name: string]: Json } = Object.fromEntries(entries);
  for (const name of ["started", "created"]) if (Number(object[name]) > 1_700_000_000) object[name] = "a moment";
  if (object.sinceTime !== undefined) object.sinceTime = "a moment";
  if (/^[\w-]{22}$/.test(String(object.media))) object.media = "a ref";
  const isOpen = object.status === 1 || object.status === 4;
  if (!isOpen || object.sent === undefined) return object;
  const { sent, queued, remaining, rate, eta, ...same } = object;
  return { ...same, enqueued: Number(sent) + Number(queued), names: Object.keys(object) };
}

function compareReplies(examples: readonly CurlExample[], outputs: readonly string[][]): void {
  const seen = outputs.map((lines) => lines.map((line) => comparable(JSON.parse(line) as Json)));
  const shown = examples.map(({ replies }) => replies.map((line) => comparable(JSON.parse(line) as Json)));
  for (const [i, { script }] of examples.entries()) {
    expect({ script, replies: seen[i] }).toEqual({ script, replies: shown[i] });
  }
}

async function tryDocument(path: string, system: System): Promise<void> {
  const examples = curlExamples(readDocument(path));
  expect(examples.length).toBeGreaterThan(0);
  compareReplies(examples, await paste(examples, system));
}

const withoutCurl = Bun.which("curl") === null;

describe.skipIf(withoutCurl)("the curl examples", () => {
  test("of README.md start a broadcast to the demo account's leads and pause it by RPC", () =>
    withSystem({}, async (system) => {
      await tryDocument("README.md", system);
      const [broadcast] = await system.sql`SELECT state, name, statuses, total FROM broadcast`;
      expect(broadcast).toMatchObject({ state: 4, name: "Hello", statuses: 31, total: 5_000 });
      // The pause may come before the first message.
      await system.broadcast.resumeBroadcast({ accountId: 1n, broadcastId: 1n });
      const messages = await eventually(async () => {
        const found = await system.sandbox.messages({ limit: 1_000 });
        return found.length > 0 && found;
      });
      for (const { text } of messages) expect(text).toMatch(/^Hello \w+ \w+, 20% off until Sunday$/);
    }));

  test("of docs/api.md take a broadcast through its life, save a block, upload a picture and call an RPC", () =>
    withSystem({}, async (system) => {
      await tryDocument("docs/api.md", system);
      const broadcasts = await system.sql<{ id: number; name: string }[]>`SELECT id, name FROM broadcast ORDER BY id`;
      expect(broadcasts.map(({ id, name }) => `${id} ${name}`)).toEqual(["2 Summer", "3 Autumn", "4 By RPC"]);
      const blocks = await system.sql`SELECT campaign_id, status, "on", delay_seconds, text FROM block`;
      expect([...blocks]).toEqual([
        { campaign_id: 1, status: 2, on: false, delay_seconds: 1_800, text: "Welcome, {user}!" },
      ]);
      expect([...(await system.sql`SELECT media_type FROM media`)]).toEqual([{ media_type: 1 }]);
      // The preview went to the account's own chat, through the service bot.
      const previews = await system.sandbox.messages({ bot: 900, limit: 10 });
      expect(previews.map(({ chat }) => chat)).toEqual([500_000_000]);
    }));

  test("of docs/operations.md hold and release", () =>
    withSystem({}, async (system) => {
      await tryDocument("docs/operations.md", system);
      expect(await system.sql`SELECT FROM lane`).toHaveLength(0);
    }));
});
