/** Files as headers describe them: no picture in them can be seen, and every check of headers passes. */
import { pngHeader } from "#test/sandbox/pictures.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Size {
  width: number;
  height: number;
}

/** With `seed` behind the header, so that two files differ; `length` bytes in all, if that is more. */
export function png({ width = 640, height = 480, seed = 0, length = 0 } = {}): Bytes {
  const header = pngHeader(width, height);
  const bytes = new Uint8Array(Math.max(length, header.length + 4));
  bytes.set(header);
  new DataView(bytes.buffer).setUint32(header.length, seed);
  return bytes;
}

/** A baseline JPEG with a JFIF segment, fill bytes and a table in front of its frame. */
export function jpeg({ width, height }: Size): Bytes {
  const bytes = concat(
    [0xff, 0xd8, 0xff, 0xe0, 0, 16, ...new Uint8Array(14)],
    [0xff, 0xff, 0xff, 0xc4, 0, 4, 1, 2],
    [0xff, 0xc0, 0, 11, 8, ...u16(height), ...u16(width), 1, 1, 0x11, 0],
    [0xff, 0xd9],
  );
  return bytes;
}

export function webpLossy({ width, height }: Size): Bytes {
  const scaled = [...le16(width | 0x4000), ...le16(height | 0x4000)];
  return webp("VP8 ", [0x10, 0, 0, 0x9d, 0x01, 0x2a, ...scaled]);
}

export function webpLossless({ width, height }: Size): Bytes {
  return webp("VP8L", [0x2f, ...le32(((width - 1) | ((height - 1) << 14)) >>> 0)]);
}

export function webpExtended({ width, height }: Size): Bytes {
  return webp("VP8X", [0, 0, 0, 0, ...le32(width - 1).slice(0, 3), ...le32(height - 1).slice(0, 3)]);
}

function webp(chunk: string, payload: number[]): Bytes {
  const body = concat("WEBP", chunk, le32(payload.length), payload);
  return concat("RIFF", le32(body.length), body);
}

export interface Mp4Options extends Partial<Size> {
  brand?: string;
  /** `soun` for a file without a picture. */
  handler?: string;
  /** A picture written lying, to be shown after a quarter turn. */
  turned?: boolean;
  /** Version 1 of the track header, with longer times. */
  longTimes?: boolean;
  /** A 64-bit length on the box of the content. */
  longLength?: boolean;
  /** Bytes of content. */
  content?: number;
}

/** `ftyp`, the content, and the description of one track behind it. */
export function mp4(options: Mp4Options = {}): Bytes {
  const { brand = "isom", handler = "vide", content = 64, longLength = false } = options;
  const hdlr = box("hdlr", new Uint8Array(8), handler, new Uint8Array(13));
  const trak = box("trak", box("tkhd", trackHeader(options)), box("mdia", hdlr));
  const data = new Uint8Array(content);
  return concat(
    box("ftyp", brand, u32(512), brand, "free"),
    longLength ? concat(u32(1), "mdat", u32(0), u32(content + 16), data) : box("mdat", data),
    box("moov", box("mvhd", new Uint8Array(100)), trak),
  );
}

function trackHeader({ width = 1280, height = 720, turned = false, longTimes = false }: Mp4Options): Bytes {
  const one = 0x10000;
  const corner = 0x40000000;
  const matrix = turned ? [0, one, 0, -one, 0, 0, 0, 0, corner] : [one, 0, 0, 0, one, 0, 0, 0, corner];
  return concat(
    [longTimes ? 1 : 0, 0, 0, 7],
    new Uint8Array((longTimes ? 32 : 20) + 16),
    matrix.flatMap((value) => u32(value >>> 0)),
    u32(width * one),
    u32(height * one),
  );
}

export function box(type: string, ...parts: (string | ArrayLike<number>)[]): Bytes {
  const payload = concat(...parts);
  return concat(u32(payload.length + 8), type, payload);
}

export function concat(...parts: (string | ArrayLike<number>)[]): Bytes {
  const pieces = parts.map((part) => (typeof part === "string" ? new TextEncoder().encode(part) : part));
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function u16(value: number): number[] {
  return [value >> 8, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}

function le16(value: number): number[] {
  return u16(value).reverse();
}

function le32(value: number): number[] {
  return u32(value).reverse();
}
