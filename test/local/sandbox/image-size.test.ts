import { describe, expect, test } from "bun:test";
import { imageSize } from "#services/local/sandbox/image-size.ts";
import { pngHeader } from "./pictures.ts";

const ascii = (text: string) => [...text].map((character) => character.charCodeAt(0));

describe("imageSize", () => {
  test("reads PNG", () => {
    expect(imageSize(pngHeader(640, 480))).toEqual({ width: 640, height: 480 });
  });

  test("reads JPEG, past other segments and fill bytes", () => {
    const app = [0xff, 0xe0, 0, 4, 1, 2];
    const frame = [0xff, 0xff, 0xc2, 0, 11, 8, 0x01, 0xe0, 0x02, 0x80, 3];
    expect(imageSize(new Uint8Array([0xff, 0xd8, ...app, ...frame]))).toEqual({ width: 640, height: 480 });
  });

  test("passes over bytes between a JPEG's segments, and knows none behind its picture's data", () => {
    const stray = [0x12, 0xff, 0, 0x34];
    const frame = [0xff, 0xc0, 0, 11, 8, 0x01, 0xe0, 0x02, 0x80, 3];
    expect(imageSize(new Uint8Array([0xff, 0xd8, ...stray, ...frame]))).toEqual({ width: 640, height: 480 });
    for (const end of [0xda, 0xd9]) {
      expect(imageSize(new Uint8Array([0xff, 0xd8, 0xff, end, 0, 2, ...frame]))).toBeUndefined();
    }
  });

  test.each([
    ["lossy", "VP8 ", [0, 0, 0, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]],
    ["lossless", "VP8L", [0, 0, 0, 0, 0x2f, ...[0x7f, 0xc2, 0x77, 0]]],
    ["extended", "VP8X", [0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0x02, 0, 0xdf, 0x01, 0]],
  ])("reads %s WebP", (_, chunk, rest) => {
    const head = chunk === "VP8 " ? [0, ...rest] : rest;
    const bytes = [...ascii("RIFF"), 0, 0, 0, 0, ...ascii("WEBP"), ...ascii(chunk), ...head];
    expect(imageSize(new Uint8Array(bytes))).toEqual({ width: 640, height: 480 });
  });

  test("gives nothing for other files and broken headers", () => {
    expect(imageSize(new TextEncoder().encode("just some text, long enough"))).toBeUndefined();
    expect(imageSize(pngHeader(1, 1).subarray(0, 18))).toBeUndefined();
    expect(imageSize(new Uint8Array([0xff, 0xd8, 0xff, 0xe0, 0, 4]))).toBeUndefined();
    expect(imageSize(new Uint8Array())).toBeUndefined();
  });
});
