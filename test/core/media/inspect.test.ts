import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { inspectMedia } from "#services/core/media/inspect.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import {
  apng,
  appSegment,
  box,
  concat,
  jpeg,
  mp4,
  png,
  type Size,
  webpExtended,
  webpLossless,
  webpLossy,
  withRiffLength,
} from "./files.ts";

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
    expect(refusalOf(concat([0xff, 0xd8, 0xff, 0xe0, 0, 2, 1], new Uint8Array(64)))).toContain("cut off");
    // Lossless JPEG, which decoders of today do not know.
    expect(refusalOf(jpeg({ width: 5, height: 5, frame: 0xc3 }))).toContain("no valid header");
    const noStartCode = webpLossy({ width: 5, height: 5 });
    noStartCode[23] = 0;
    expect(refusalOf(noStartCode)).toContain("no valid header");
    expect(refusalOf(concat("RIFF", [12, 0, 0, 0], "WEBPICCP", [0, 0, 0, 0]))).toContain("no valid header");
  });

  test("refuses every header that is cut off", () => {
    const whole = [
      jpeg({ width: 64, height: 64 }).subarray(0, 37),
      webpLossy({ width: 64, height: 64 }),
      // Without the byte that fills it up: decoders do without.
      webpLossless({ width: 64, height: 64 }).subarray(0, 25),
      webpExtended({ width: 64, height: 64 }),
      png().subarray(0, 24),
      mp4(),
      mp4({ longLength: true }),
    ];
    for (const bytes of whole) {
      inspectMedia(bytes);
      for (let length = 0; length < bytes.length; length++) {
        const message = refusalOf(bytes.subarray(0, length));
        expect(message).toMatch(/cut off|cannot be sent|no video/);
      }
    }
  });

  const size = { width: 640, height: 480 };
  const profiles = concat(...Array.from({ length: 30 }, (_, n) => appSegment(n % 16, 65_533)));
  const tolerated: [string, Uint8Array][] = [
    ["a JPEG with stray bytes between segments", jpeg({ ...size, before: [0x12, 0x34, 0, 0xff, 0, 0x56] })],
    ["a JPEG with fill bytes", jpeg({ ...size, before: new Uint8Array(500).fill(0xff) })],
    ["a JPEG with 2 MB of profiles", jpeg({ ...size, before: profiles })],
    ["a JPEG with a segment of no length", jpeg({ ...size, before: [0xff, 0xe1, 0, 0] })],
    ["a JPEG with markers that stand alone", jpeg({ ...size, before: [0xff, 0xd0, 0xff, 0x01] })],
    ["a progressive JPEG", jpeg({ ...size, frame: 0xc2 })],
    ["a CMYK JPEG", jpeg({ ...size, components: 4 })],
    ["a JPEG of arithmetic coding", jpeg({ ...size, frame: 0xc9 })],
    ...[-1, 1, 2, -8, 1_000].map((by): [string, Uint8Array] => [
      `a WebP whose length is off by ${by}`,
      withRiffLength(webpLossy(size), by),
    ]),
    ["an extended WebP whose length is off by one", withRiffLength(webpExtended(size), 1)],
  ];
  test.each(tolerated)("takes %s, as Telegram does", (_, file) => {
    expect(inspectMedia(file)).toMatchObject({ mediaType: 1, ...size });
  });

  test.each([
    ["with free and wide boxes", mp4({ between: concat(box("free", new Uint8Array(9)), box("wide")) })],
    ["with its description in front, and content to the end", mp4({ contentLast: true })],
    ["in fragments", concat(mp4({ contentLast: false, content: 0 }), box("moof", new Uint8Array(30)), box("mdat"))],
    ["with a tag of ID3 behind it", concat(mp4(), "TAGitle of a song", new Uint8Array(111))],
    ["with a box behind it that ends behind the file", concat(mp4(), [0, 0, 9, 9], "free", new Uint8Array(8))],
    ["with a box of no sense behind it", concat(mp4(), [0, 0, 0, 3], "moov", new Uint8Array(8))],
    [
      "of QuickTime that calls itself an MP4 too",
      concat(box("ftyp", "qt  ", [0, 0, 0, 0], "mp42"), mp4().subarray(24)),
    ],
  ])("takes an MP4 %s", (_, file) => {
    expect(inspectMedia(file)).toMatchObject({ mediaType: 2, width: 1280, height: 720 });
  });

  test("refuses an MP4 whose content is cut off or missing, wherever its description is", () => {
    const cut = mp4({ between: mp4({ content: 100 }).subarray(132) }).slice(0, -1);
    expect(refusalOf(cut)).toContain("cut off");
    const descriptionOnly = concat(box("ftyp", "isom", [0, 0, 0, 0], "isom"), mp4({ content: 0 }).subarray(32));
    expect(refusalOf(descriptionOnly)).toContain("no video");
    const cutContent = concat(descriptionOnly, [0, 0, 9, 9], "mdat", new Uint8Array(50));
    expect(refusalOf(cutContent)).toContain("cut off");
  });

  test.each([
    ["a PNG", png(), undefined],
    ["a PNG of one frame", apng({ frames: 1 }), undefined],
    ["a PNG that tells its frames too late", apng({ late: true }), undefined],
    ["an animated PNG", apng(), true],
    ["an extended WebP", webpExtended(size), undefined],
    ["an animated WebP", webpExtended({ ...size, frames: 3 }), true],
  ])("tells whether it moves: %s", (_, file, isAnimated) => {
    expect(inspectMedia(file)).toEqual({
      mediaType: 1,
      mimeType: expect.any(String) as never,
      ...size,
      ...(isAnimated ? { isAnimated } : {}),
    });
  });

  test("says the same of a file with any bytes behind it", () => {
    const files = [
      png(),
      apng(),
      jpeg(size),
      webpLossy(size),
      webpLossless(size),
      webpExtended(size),
      webpExtended({ ...size, frames: 2 }),
      mp4(),
      mp4({ contentLast: true }),
    ];
    fc.assert(
      fc.property(fc.constantFrom(...files), fc.uint8Array({ maxLength: 300 }), (file, behind) => {
        expect(inspectMedia(concat(file, behind))).toEqual(inspectMedia(file));
      }),
      { numRuns: 2000 },
    );
  });

  test("answers or refuses, wherever a good file is cut", () => {
    for (const [, file] of tolerated) {
      for (let length = 0; length < Math.min(file.length, 700); length++) outcomeOf(file.subarray(0, length));
    }
    for (const file of [apng(), webpExtended({ ...size, frames: 3 }), mp4({ contentLast: true })]) {
      for (let length = 0; length < file.length; length++) outcomeOf(file.subarray(0, length));
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
      webpExtended({ width: 9, height: 9, frames: 3 }),
      apng(),
      mp4(),
      mp4({ longLength: true }),
      mp4({ contentLast: true }),
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
    const pngStart = png().subarray(0, 33);
    const files = [
      // A marker after the other, a box after the other, a track after the other.
      concat([0xff, 0xd8], new Uint8Array(size - 2).fill(0xff)),
      concat([0xff, 0xd8, 0xff], new Uint8Array(size - 2)),
      concat([0xff, 0xd8], manyOf(Uint8Array.of(0xff, 0), size)),
      concat([0xff, 0xd8], manyOf(appSegment(1, 0), size)),
      concat(pngStart, manyOf(concat([0, 0, 0, 0], "tEXt", [0, 0, 0, 0]), size - 50)),
      concat(webpExtended({ width: 9, height: 9 }), manyOf(concat("ANMF", [0, 0, 0, 0]), size - 200)),
      concat(box("ftyp", "isom", [0, 0, 0, 0]), manyOf(box("free"), size)),
      concat(box("ftyp", "isom", [0, 0, 0, 0]), box("moov", manyOf(box("trak", box("mdia")), size))),
    ];
    // Of the processor, whatever else the machine does; a walk that is not linear takes hours.
    const before = process.cpuUsage();
    for (const file of files) outcomeOf(file);
    const { user } = process.cpuUsage(before);
    expect(user / 1_000_000).toBeLessThan(10);
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
