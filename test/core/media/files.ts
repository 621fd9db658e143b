/** Files as headers describe them: no picture in them can be seen, and every check of headers passes. */
import { pngHeader } from "#test/local/sandbox/pictures.ts";

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

/** A PNG that tells a number of frames, in front of its data or behind it. */
export function apng({ frames = 2, late = false } = {}): Bytes {
  const header = pngHeader(640, 480);
  const told = pngChunk("acTL", concat(u32(frames), u32(0)));
  const data = pngChunk("IDAT", new Uint8Array(20));
  return concat(header, ...(late ? [data, told] : [pngChunk("tEXt", new Uint8Array(9)), told, data]), pngChunk("IEND"));
}

function pngChunk(type: string, data: Uint8Array = new Uint8Array()): Bytes {
  return concat(u32(data.length), type, data, [0, 0, 0, 0]);
}

export interface JpegOptions extends Size {
  /** The frame's marker; C0 is baseline, C2 progressive. */
  frame?: number;
  components?: number;
  /** What stands in front of the frame, behind a JFIF segment. */
  before?: ArrayLike<number>;
}

/** A JPEG with a JFIF segment, fill bytes and a table in front of its frame. */
export function jpeg({ width, height, frame = 0xc0, components = 1, before = [] }: JpegOptions): Bytes {
  const bytes = concat(
    [0xff, 0xd8, 0xff, 0xe0, 0, 16, ...new Uint8Array(14)],
    before,
    [0xff, 0xff, 0xff, 0xc4, 0, 4, 1, 2],
    [0xff, frame, 0, 8 + components * 3, 8, ...u16(height), ...u16(width), components],
    new Uint8Array(components * 3),
    [0xff, 0xd9],
  );
  return bytes;
}

/** An APP segment of any length, as Exif and ICC profiles have them. */
export function appSegment(n: number, length: number): Bytes {
  return concat([0xff, 0xe0 + n], u16(length + 2), new Uint8Array(length));
}

export function webpLossy({ width, height }: Size): Bytes {
  const scaled = [...le16(width | 0x4000), ...le16(height | 0x4000)];
  return webp("VP8 ", [0x10, 0, 0, 0x9d, 0x01, 0x2a, ...scaled]);
}

export function webpLossless({ width, height }: Size): Bytes {
  return webp("VP8L", [0x2f, ...le32(((width - 1) | ((height - 1) << 14)) >>> 0)]);
}

/** With a profile of an odd length in front of its picture, or of its frames where there are several. */
export function webpExtended({ width, height, frames = 1 }: Size & { frames?: number }): Bytes {
  const canvas = [frames > 1 ? 2 : 0, 0, 0, 0, ...le32(width - 1).slice(0, 3), ...le32(height - 1).slice(0, 3)];
  const pictures = Array.from({ length: frames }, () => webpChunk(frames > 1 ? "ANMF" : "VP8L", new Uint8Array(24)));
  return riff(webpChunk("VP8X", canvas), webpChunk("ICCP", new Uint8Array(3)), ...pictures);
}

function webp(chunk: string, payload: number[]): Bytes {
  return riff(webpChunk(chunk, payload));
}

function webpChunk(type: string, payload: ArrayLike<number>): Bytes {
  return concat(type, le32(payload.length), payload, new Uint8Array(payload.length % 2));
}

function riff(...chunks: Bytes[]): Bytes {
  const body = concat("WEBP", ...chunks);
  return concat("RIFF", le32(body.length), body);
}

/** With another length in its RIFF header. */
export function withRiffLength(file: Bytes, by: number): Bytes {
  const bytes = file.slice();
  const view = new DataView(bytes.buffer);
  view.setUint32(4, view.getUint32(4, true) + by, true);
  return bytes;
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
  /** The content behind the description, with no length of its own: all that is left. */
  contentLast?: boolean;
  /** Boxes between `ftyp` and the others. */
  between?: Bytes;
}

/** `ftyp`, the content, and the description of one track behind it. */
export function mp4(options: Mp4Options = {}): Bytes {
  const { brand = "isom", handler = "vide", content = 64, longLength = false } = options;
  const { contentLast = false, between = new Uint8Array() } = options;
  const hdlr = box("hdlr", new Uint8Array(8), handler, new Uint8Array(13));
  const trak = box("trak", box("tkhd", trackHeader(options)), box("mdia", hdlr));
  const data = new Uint8Array(content);
  const mdat = longLength ? concat(u32(1), "mdat", u32(0), u32(content + 16), data) : box("mdat", data);
  const moov = box("moov", box("mvhd", new Uint8Array(100)), trak);
  const rest = contentLast ? concat(moov, u32(0), "mdat", data) : concat(mdat, moov);
  return concat(box("ftyp", brand, u32(512), brand, "free"), between, rest);
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
