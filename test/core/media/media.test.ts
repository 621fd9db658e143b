import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CHUNK_BYTES, checkMediaRef, openMedia, readMedia, uploadMedia } from "#services/core/media/media.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { mp4, png, webpLossless } from "./files.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

async function setup() {
  const { sql } = database;
  const accountId = await insertAccount(sql);
  const upload = (bytes: Uint8Array, quotaBytes?: number) => uploadMedia(sql, accountId, bytes, { quotaBytes });
  /** What is stored, counted from the bytes themselves, and what the account's usage says. */
  async function stored() {
    const [row] = await sql<{ files: number; bytes: number; usage: number }[]>`
      SELECT count(DISTINCT m.ref)::int AS files, coalesce(sum(length(c.bytes)), 0)::int AS bytes,
        coalesce((SELECT u.bytes FROM media_usage u WHERE u.account_id = ${accountId}), 0)::int AS usage
      FROM media m LEFT JOIN media_chunk c ON c.media_ref = m.ref WHERE m.account_id = ${accountId}`;
    return row!;
  }
  async function read(ref: string): Promise<Uint8Array[]> {
    return await Array.fromAsync(readMedia(sql, ref));
  }
  return { sql, accountId, upload, stored, read };
}

describe("uploadMedia", () => {
  test("keeps a file and gives it back in chunks", async () => {
    const { sql, upload, read, stored } = await setup();
    for (const length of [100, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]) {
      const bytes = png({ length }).fill(0xab, 50, length);
      const { ref, mediaType } = await upload(bytes);

      expect(mediaType).toBe(1);
      expect(ref).toMatch(/^[\w-]{22}$/);
      const chunks = await read(ref);
      expect(chunks.map((chunk) => chunk.length)).toEqual(chunkLengths(length));
      expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
      expect(await openMedia(sql, ref)).toEqual({
        size: length,
        mediaType: 1,
        mimeType: "image/png",
        fileName: "photo.png",
      });
    }
    const { bytes, usage } = await stored();
    expect(usage).toBe(bytes);
  });

  test("keeps a long video whole", async () => {
    const { sql, upload, read } = await setup();
    const bytes = mp4({ content: 50 * 1024 * 1024 - 1024 });
    for (let at = 100; at < bytes.length - 1000; at += 9973) bytes[at] = at % 251;

    const { ref, mediaType } = await upload(bytes);

    expect(mediaType).toBe(2);
    expect(await openMedia(sql, ref)).toMatchObject({ size: bytes.length, fileName: "video.mp4" });
    expect(Buffer.concat(await read(ref)).equals(bytes)).toBe(true);
  });

  test("gives the same ref for the same bytes, and another account another one", async () => {
    const { upload, stored } = await setup();
    const other = await setup();
    const bytes = png({ seed: 7 });

    const { ref } = await upload(bytes);

    expect((await upload(bytes)).ref).toBe(ref);
    expect((await other.upload(bytes)).ref).not.toBe(ref);
    expect(await stored()).toEqual({ files: 1, bytes: bytes.length, usage: bytes.length });
  });

  test("keeps one file of 20 uploads of the same bytes at once", async () => {
    const { upload, stored } = await setup();
    const bytes = png({ length: CHUNK_BYTES + 5 });

    const replies = await Promise.all(Array.from({ length: 20 }, () => upload(bytes)));

    expect(new Set(replies.map(({ ref }) => ref)).size).toBe(1);
    expect(await stored()).toEqual({ files: 1, bytes: bytes.length, usage: bytes.length });
  });

  test("takes 20 uploads at once only as far as the quota goes", async () => {
    const { upload, stored } = await setup();
    const size = 1000;

    const replies = await Promise.allSettled(
      Array.from({ length: 20 }, (_, seed) => upload(png({ seed: seed + 1, length: size }), 7 * size + 999)),
    );

    expect(replies.filter((reply) => reply.status === "fulfilled")).toHaveLength(7);
    expect(await stored()).toEqual({ files: 7, bytes: 7 * size, usage: 7 * size });
  });

  test("says that the storage is full, and still takes what it has", async () => {
    const { upload, stored } = await setup();
    const mebibyte = 1024 * 1024;
    const first = png({ length: 2 * mebibyte });
    const { ref } = await upload(first, 2 * mebibyte);

    const refusal = await failureOf(upload(png({ seed: 2 }), 2 * mebibyte));

    expect(refusal).toMatchObject({ reason: 15, field: "content" });
    expect(refusal.message).toStartWith("Your media storage is full: of 2.0 MB 2.0 MB are taken");
    expect((await upload(first, 2 * mebibyte)).ref).toBe(ref);
    expect((await stored()).files).toBe(1);
  });

  test("keeps nothing of a file that cannot be sent, and nothing for an account that is not there", async () => {
    const { sql, upload, stored } = await setup();

    expect(await reasonOf(upload(png({ width: 20_000 })))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(uploadMedia(sql, 999_999, png()))).toBe("NOT_YOURS");
    expect(await stored()).toEqual({ files: 0, bytes: 0, usage: 0 });
  });

  test("stores the size in pixels and what the file is", async () => {
    const { sql, upload } = await setup();
    const { ref } = await upload(webpLossless({ width: 33, height: 44 }));

    const [row] = await sql`SELECT width, height, media_type, mime_type, size FROM media WHERE ref = ${ref}`;

    expect(row).toEqual({ width: 33, height: 44, media_type: 1, mime_type: "image/webp", size: 26 });
  });
});

function chunkLengths(length: number): number[] {
  const lengths: number[] = [];
  for (let left = length; left > 0; left -= CHUNK_BYTES) lengths.push(Math.min(left, CHUNK_BYTES));
  return lengths;
}

describe("checkMediaRef", () => {
  test("passes the account's own media of that type, and none", async () => {
    const { sql, accountId, upload } = await setup();
    const photo = await upload(png({ seed: 1 }));
    const video = await upload(mp4());

    await checkMediaRef(sql, accountId, { media: photo.ref, mediaType: 1 });
    await checkMediaRef(sql, accountId, { media: video.ref, mediaType: 2 });
    await checkMediaRef(sql, accountId, { media: "", mediaType: 0 });
    await sql.begin((tx) => checkMediaRef(tx, accountId, { media: photo.ref, mediaType: 1 }));
  });

  test("refuses in the same words what is absent, another account's, of the other type, or no ref at all", async () => {
    const { sql, accountId, upload } = await setup();
    const foreign = await (await setup()).upload(png());
    const { ref } = await upload(png());
    const check = (media: string, mediaType: number) => failureOf(checkMediaRef(sql, accountId, { media, mediaType }));

    const absent = await check("AAAAAAAAAAAAAAAAAAAAAA", 1);

    expect(absent).toMatchObject({ reason: 5, field: "media" });
    expect(await check(foreign.ref, 1)).toEqual(absent);
    expect(await check(ref, 2)).toEqual(absent);
    for (const media of ["", "a\0b", "'; --", "\ud800", "x".repeat(1000), ` ${ref}`]) {
      expect(await check(media, 1)).toEqual(absent);
    }
  });
});

describe("readMedia", () => {
  test("refuses a ref that is not there, as openMedia does", async () => {
    const { sql, read } = await setup();

    expect(await reasonOf(openMedia(sql, "absent"))).toBe("NOT_YOURS");
    expect(await reasonOf(read("absent"))).toBe("NOT_YOURS");
  });

  test("asks for a chunk only when the one before has been taken", async () => {
    const { sql, upload, read } = await setup();
    const { ref } = await upload(png({ length: 3 * CHUNK_BYTES }));
    const chunks = readMedia(sql, ref);
    await chunks.next();
    await sql`DELETE FROM media_chunk WHERE media_ref = ${ref} AND n = 1`;

    await expect(chunks.next()).rejects.toThrow("Chunk 1 of a media file");
    await expect(read(ref)).rejects.toThrow(/^Of a media file of \d+ bytes \d+ are stored/);
  });
});
