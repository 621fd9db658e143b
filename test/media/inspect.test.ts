import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { inspectMedia } from "#services/media/inspect.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { box, concat, jpeg, mp4, png, type Size, webpExtended, webpLossless, webpLossy } from "./files.ts";

const mebibyte = 1024 * 1024;

function refusalOf(bytes: Uint8Array): string {
  try {
    inspectMedia(bytes);
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    expect(error).toMatchObject({ reason: ErrorReason.INVALID_ARGUMENT, field: "content" });
    return error.message;
  }
  throw new Error("The file was expected to be refused, and passed.");
}

const pictures: [string, (size: Size) => Uint8Array, string][] = [
  ["JPEG", jpeg, "image/jpeg"],
  ["PNG", png, "image/png"],
  ["WebP (lossy)", webpLossy, "image/webp"],
  ["WebP (lossless)", webpLossless, "image/webp"],
  ["WebP (extended)", webpExtended, "image/webp"],
];

describe("inspectMedia", () => {
  test.each(pictures)("reads the size of a %s picture", (_, make, mimeType) => {
    for (const size of [
      { width: 1, height: 1 },
      { width: 4032, height: 3024 },
      { width: 300, height: 6000 },
    ]) {
      expect(inspectMedia(make(size))).toEqual({ mediaType: 1, mimeType: mimeType as never, ...size });
    }
  });

  test.each(pictures)("takes a %s picture up to the Bot API's measures, and refuses the next pixel", (_, make) => {
    expect(inspectMedia(make({ width: 9000, height: 1000 }))).toMatchObject({ width: 9000 });
    expect(refusalOf(make({ width: 9000, height: 1001 }))).toContain("at most 10000");
    expect(inspectMedia(make({ width: 100, height: 2000 }))).toMatchObject({ height: 2000 });
    expect(refusalOf(make({ width: 100, height: 2001 }))).toContain("at most 20 times");
  });

  test("reads a video, whichever way its boxes are written", () => {
    const video = { mediaType: 2, mimeType: "video/mp4", width: 1280, height: 720 } as const;
    expect(inspectMedia(mp4())).toEqual(video);
    expect(inspectMedia(mp4({ longTimes: true }))).toEqual(video);
    expect(inspectMedia(mp4({ longLength: true }))).toEqual(video);
    expect(inspectMedia(mp4({ turned: true }))).toEqual({ ...video, width: 720, height: 1280 });
    for (const brand of ["isom", "iso6", "mp41", "mp42", "avc1", "M4V ", "MSNV", "dash"]) {
      expect(inspectMedia(mp4({ brand }))).toEqual(video);
    }
    // Two zero-length ends: padding that says "all that is left", and less than a box.
    expect(inspectMedia(concat(mp4(), new Uint8Array(64)))).toEqual(video);
    expect(inspectMedia(concat(mp4(), [1, 2, 3]))).toEqual(video);
  });

  test("finds the picture's track behind one of sound", () => {
    const sound = mp4({ handler: "soun" });
    const movie = mp4({ width: 320, height: 200 });
    const merged = concat(sound, movie.subarray(box("ftyp", new Uint8Array(16)).length));
    expect(inspectMedia(merged)).toMatchObject({ width: 320, height: 200 });
  });

  test("takes a compatible brand for the main one", () => {
    const file = concat(box("ftyp", "XYZ1", [0, 0, 0, 0], "abcd", "mp42"), mp4().subarray(24));
    expect(inspectMedia(file)).toMatchObject({ mediaType: 2 });
  });

  test("refuses a video in which no player finds a picture", () => {
    expect(refusalOf(mp4({ handler: "soun" }))).toContain("no video");
    expect(refusalOf(box("ftyp", "isom", [0, 0, 0, 0], "isom"))).toContain("no video");
    const badBox = concat(box("ftyp", "isom", [0, 0, 0, 0], "isom"), [0, 0, 0, 7], "moov", new Uint8Array(8));
    expect(refusalOf(badBox)).toContain("no video");
  });

  test.each([
    ["nothing", new Uint8Array()],
    ["text", "just a text, long enough"],
    ["GIF", "GIF89a and what follows it"],
    ["HTML", "<!doctype html><html></html>"],
    ["QuickTime", mp4({ brand: "qt  " })],
    ["HEIC", mp4({ brand: "heic" })],
    ["sound in RIFF", "RIFF\x24\x00\x00\x00WAVEfmt "],
    ["JPEG's first two bytes", [0xff, 0xd8]],
  ])("refuses %s as a kind that cannot be sent", (_, content) => {
    expect(refusalOf(concat(content))).toContain("JPEG, PNG or WebP picture, or an MP4 video");
  });

  test("refuses a photo above 10 MB and a video above 50 MB, and says so much", () => {
    expect(inspectMedia(png({ length: 10 * mebibyte }))).toMatchObject({ mediaType: 1 });
    expect(refusalOf(png({ length: 10 * mebibyte + 1 }))).toContain("has 10.1 MB: make it smaller, to at most 10 MB");
    const around = mp4({ content: 0 }).length;
    expect(inspectMedia(mp4({ content: 50 * mebibyte - around }))).toMatchObject({ mediaType: 2 });
    expect(refusalOf(mp4({ content: 50 * mebibyte - around + 1 }))).toContain("at most 50 MB");
  });

  test("refuses headers that no encoder writes", () => {
    expect(refusalOf(png({ width: 0 }))).toContain("no valid header");
    expect(refusalOf(jpeg({ width: 5, height: 0 }))).toContain("no valid header");
    expect(refusalOf(concat([0xff, 0xd8, 0xff, 0xda], new Uint8Array(64)))).toContain("no valid header");
    expect(refusalOf(concat([0xff, 0xd8, 0xff, 0xe0, 0, 2, 1], new Uint8Array(64)))).toContain("no valid header");
    const noStartCode = webpLossy({ width: 5, height: 5 });
    noStartCode[23] = 0;
    expect(refusalOf(noStartCode)).toContain("no valid header");
    expect(refusalOf(concat("RIFF", [12, 0, 0, 0], "WEBPICCP", [0, 0, 0, 0]))).toContain("no valid header");
  });

  test("refuses every header that is cut off", () => {
    const whole = [
      jpeg({ width: 64, height: 64 }).subarray(0, 37),
      webpLossy({ width: 64, height: 64 }),
      webpLossless({ width: 64, height: 64 }),
      webpExtended({ width: 64, height: 64 }),
      png().subarray(0, 24),
      mp4(),
    ];
    for (const bytes of whole) {
      inspectMedia(bytes);
      for (let length = 0; length < bytes.length; length++) {
        const message = refusalOf(bytes.subarray(0, length));
        expect(message).toMatch(/cut off|cannot be sent|no video/);
      }
    }
  });

  test("reads a view into a larger buffer", () => {
    const bytes = concat(new Uint8Array(13), jpeg({ width: 31, height: 17 }), new Uint8Array(5));
    expect(inspectMedia(bytes.subarray(13))).toMatchObject({ width: 31, height: 17 });
  });

  const magics = [
    png().subarray(0, 16),
    Uint8Array.of(0xff, 0xd8, 0xff),
    ...["VP8 ", "VP8L", "VP8X"].map((chunk) => concat("RIFF", [30, 0, 0, 0], "WEBP", chunk)),
    box("ftyp", "isom", [0, 0, 0, 0], "isom"),
    concat(box("ftyp", "isom", [0, 0, 0, 0]), [0, 0, 8, 0], "moov", [0, 0, 4, 0], "trak"),
  ];

  test("answers or refuses, whatever the bytes are", () => {
    const bytes = fc.tuple(fc.constantFrom(new Uint8Array(), ...magics), fc.uint8Array({ maxLength: 4096 }));
    fc.assert(
      fc.property(bytes, ([magic, rest]) => {
        outcomeOf(concat(magic, rest));
      }),
      { numRuns: 3000 },
    );
  });

  test("answers or refuses, whichever byte of a good file is another", () => {
    const files = [
      png(),
      jpeg({ width: 9, height: 9 }),
      webpLossless({ width: 9, height: 9 }),
      webpExtended({ width: 9, height: 9 }),
      mp4(),
      mp4({ longLength: true }),
    ];
    const damage = fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.constantFrom(...files), damage, (file, places) => {
        const bytes = file.slice();
        for (const [at, value] of places) bytes[at % bytes.length] = value;
        outcomeOf(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  test("needs no time for files that are made to take it", () => {
    const size = 10 * mebibyte;
    const files = [
      // A marker after the other, a box after the other, a track after the other.
      concat([0xff, 0xd8], new Uint8Array(size - 2).fill(0xff)),
      concat(box("ftyp", "isom", [0, 0, 0, 0]), manyOf(box("free"), size)),
      concat(box("ftyp", "isom", [0, 0, 0, 0]), box("moov", manyOf(box("trak", box("mdia")), size))),
    ];
    const began = performance.now();
    for (const file of files) outcomeOf(file);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

function manyOf(piece: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(Math.floor(size / piece.length) * piece.length);
  for (let at = 0; at < bytes.length; at += piece.length) bytes.set(piece, at);
  return bytes;
}

/** What inspectMedia answers; throws whatever it throws that is not a refusal. */
function outcomeOf(bytes: Uint8Array): void {
  try {
    const { mediaType, width, height } = inspectMedia(bytes);
    expect([1, 2]).toContain(mediaType);
    expect(width >= 0 && height >= 0).toBe(true);
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
  }
}
