import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { claimFile, type FileClaim, forgetFile, releaseFile, storeFile } from "#services/core/media/file-id.ts";
import { uploadMedia } from "#services/core/media/media.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { png } from "./files.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const leaseMs = 60_000;

async function setup() {
  const { sql } = database;
  const accountId = await insertAccount(sql);
  const bot = async () => {
    const [row] = await sql<{ id: number }[]>`
      INSERT INTO bot (account_id, username, token_sealed, webhook_secret) VALUES (${accountId}, '', '', '')
      RETURNING id`;
    return row!.id;
  };
  const { ref } = await uploadMedia(sql, accountId, png());
  const [botId, otherBotId] = [await bot(), await bot()];
  const file = { botId, ref };
  const claim = (owner: string) => claimFile(sql, { ...file, owner, leaseMs });
  const claimTogether = (name: string) => Promise.all(Array.from({ length: 20 }, (_, i) => claim(`${name}-${i}`)));
  const lapse = () => sql`UPDATE media_file SET uploading_until = clock_timestamp() WHERE media_ref = ${ref}`;
  return { sql, file, otherFile: { botId: otherBotId, ref }, claim, claimTogether, lapse };
}

function kinds(claims: FileClaim[]) {
  const count = (kind: string) => claims.filter((claim) => kind in claim).length;
  return { upload: count("upload"), wait: count("wait"), fileId: count("fileId") };
}

describe("claimFile", () => {
  test("tells one of 20 to upload, the others to wait for it, and then all the file_id", async () => {
    const { sql, file, claimTogether } = await setup();

    const claims = await claimTogether("send");

    expect(kinds(claims)).toEqual({ upload: 1, wait: 19, fileId: 0 });
    const owner = `send-${claims.findIndex((claim) => "upload" in claim)}`;
    expect(await storeFile(sql, { ...file, owner, fileId: "F1" })).toBe(true);
    expect(kinds(await claimTogether("later"))).toEqual({ upload: 0, wait: 0, fileId: 20 });
  });

  test("says when to ask again at the latest", async () => {
    const { sql, claim } = await setup();
    await claim("a");
    const claimed = await claim("b");

    const [{ now }] = await sql<[{ now: Date }]>`SELECT clock_timestamp() AS now`;
    const until = "wait" in claimed ? claimed.until.getTime() : 0;
    expect(until).toBeGreaterThan(now.getTime());
    expect(until).toBeLessThanOrEqual(now.getTime() + leaseMs);
  });

  test("keeps each bot's file_id apart", async () => {
    const { sql, file, otherFile, claim } = await setup();
    await claim("a");
    await storeFile(sql, { ...file, owner: "a", fileId: "F1" });

    expect(await claimFile(sql, { ...otherFile, owner: "b", leaseMs })).toEqual({ upload: true, version: 1 });
    expect(await claim("c")).toEqual({ fileId: "F1" });
  });

  test("lets exactly one take over from an uploader that has died", async () => {
    const { sql, file, claim, claimTogether, lapse } = await setup();
    expect(await claim("dead")).toEqual({ upload: true, version: 1 });
    await lapse();

    const claims = await claimTogether("next");

    expect(kinds(claims)).toEqual({ upload: 1, wait: 19, fileId: 0 });
    expect(claims).toContainEqual({ upload: true, version: 2 });
    expect(await storeFile(sql, { ...file, owner: "dead", fileId: "late" })).toBe(false);
    expect("wait" in (await claim("another"))).toBe(true);
  });
});

describe("storeFile", () => {
  test("counts after the lease as long as nobody has taken it over", async () => {
    const { sql, file, claim, lapse } = await setup();
    await claim("slow");
    await lapse();

    expect(await storeFile(sql, { ...file, owner: "slow", fileId: "F1" })).toBe(true);
    expect(await claim("next")).toEqual({ fileId: "F1" });
  });

  test("that comes twice does not bring a dead file_id back", async () => {
    const { sql, file, claim } = await setup();
    await claim("a");
    await storeFile(sql, { ...file, owner: "a", fileId: "F1" });
    await forgetFile(sql, { ...file, fileId: "F1" });
    await claim("b");

    expect(await storeFile(sql, { ...file, owner: "a", fileId: "F1" })).toBe(false);
    expect(await storeFile(sql, { ...file, owner: "b", fileId: "F2" })).toBe(true);
    expect(await claim("c")).toEqual({ fileId: "F2" });
  });
});

describe("releaseFile", () => {
  test("lets the next one upload, and is the uploader's alone", async () => {
    const { sql, file, claim, claimTogether } = await setup();
    await claim("a");

    await releaseFile(sql, { ...file, owner: "b" });
    expect("wait" in (await claim("c"))).toBe(true);

    await releaseFile(sql, { ...file, owner: "a" });
    expect(kinds(await claimTogether("d"))).toEqual({ upload: 1, wait: 19, fileId: 0 });
  });

  test("after the upload keeps the file_id", async () => {
    const { sql, file, claim } = await setup();
    await claim("a");
    await storeFile(sql, { ...file, owner: "a", fileId: "F1" });

    await releaseFile(sql, { ...file, owner: "a" });

    expect(await claim("b")).toEqual({ fileId: "F1" });
  });
});

describe("forgetFile", () => {
  test("of 20 who met the same dead file_id lets exactly one upload again", async () => {
    const { sql, file, claim, claimTogether } = await setup();
    await claim("a");
    await storeFile(sql, { ...file, owner: "a", fileId: "F1" });

    const forgotten = await Promise.all(Array.from({ length: 20 }, () => forgetFile(sql, { ...file, fileId: "F1" })));
    const claims = await claimTogether("b");

    expect(forgotten.filter((how) => how === "dropped")).toHaveLength(1);
    expect(forgotten.filter((how) => how === "gone")).toHaveLength(19);
    expect(kinds(claims)).toEqual({ upload: 1, wait: 19, fileId: 0 });
  });

  test("leaves a newer file_id alone", async () => {
    const { sql, file, claim } = await setup();
    await claim("a");
    await storeFile(sql, { ...file, owner: "a", fileId: "F1" });
    await forgetFile(sql, { ...file, fileId: "F1" });
    await claim("b");
    await storeFile(sql, { ...file, owner: "b", fileId: "F2" });

    expect(await forgetFile(sql, { ...file, fileId: "F1" })).toBe("gone");
    expect(await claim("c")).toEqual({ fileId: "F2" });
  });

  test("keeps one that comes within the hour, and drops it after that", async () => {
    const { sql, file, claim } = await setup();
    for (const [owner, fileId] of [
      ["a", "F1"],
      ["b", "F2"],
    ] as const) {
      await claim(owner);
      await storeFile(sql, { ...file, owner, fileId });
      expect(await forgetFile(sql, { ...file, fileId })).toBe(fileId === "F1" ? "dropped" : "kept");
    }
    expect(await claim("c")).toEqual({ fileId: "F2" });
    await sql`UPDATE media_file SET dropped_at = dropped_at - interval '1 hour' WHERE bot_id = ${file.botId}`;
    expect(await forgetFile(sql, { ...file, fileId: "F2" })).toBe("dropped");
  });
});
