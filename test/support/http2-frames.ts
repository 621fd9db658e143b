/** HTTP/2 frames and header blocks as bytes, also those that no client would send. */

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flags = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export interface FrameOptions {
  type: number;
  flags?: number;
  stream?: number;
  payload?: Uint8Array;
  /** What the frame says of its payload, where that is not true. */
  length?: number;
}

export function frame({ type, flags: bits = 0, stream = 0, payload = Buffer.alloc(0), length }: FrameOptions): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length ?? payload.length, 0, 3);
  head[3] = type;
  head[4] = bits;
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 4);
  numbers.forEach((number, index) => {
    bytes.writeUInt32BE(number >>> 0, index * 4);
  });
  return bytes;
}

export type Field = readonly [name: string | Buffer, value: string | Buffer];

/** HPACK without any compression: each field is a literal that is not indexed. */
export function headerBlock(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string | Buffer): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
  return Buffer.concat([hpackInteger(bytes.length, 7), bytes]);
}

/** An integer with a prefix of so many bits, the bits before it being zero. */
export function hpackInteger(value: number, prefixBits: number): Buffer {
  const largest = 2 ** prefixBits - 1;
  if (value < largest) return Buffer.from([value]);
  const bytes = [largest];
  let rest = value - largest;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

export function settings(...pairs: readonly [id: number, value: number][]): Buffer {
  const payload = Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id]), uint32(value)])));
  return frame({ type: frameType.settings, payload });
}

export function headers(stream: number, fields: readonly Field[], bits: number = flags.endHeaders): Buffer {
  return frame({ type: frameType.headers, flags: bits, stream, payload: headerBlock(fields) });
}

export function ping(payload = "12345678", bits = 0): Buffer {
  return frame({ type: frameType.ping, flags: bits, payload: Buffer.from(payload) });
}

export function reset(stream: number, code = 8): Buffer {
  return frame({ type: frameType.reset, stream, payload: uint32(code) });
}

export function windowUpdate(stream: number, increment: number): Buffer {
  return frame({ type: frameType.windowUpdate, stream, payload: uint32(increment) });
}

/** A request's pseudo headers, and whatever comes after them. */
export function requestFields(path: string, ...more: Field[]): Field[] {
  return [[":method", "GET"], [":scheme", "http"], [":authority", "localhost"], [":path", path], ...more];
}

export interface ReceivedFrame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** The frames that are whole. */
export function framesOf(bytes: Buffer): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) break;
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({ type: bytes[at + 3]!, flags: bytes[at + 4]!, stream: bytes.readUInt32BE(at + 5), payload });
    at += 9 + length;
  }
  return frames;
}

/** Statuses of HPACK's static table, and the codes of digits. */
const knownStatuses: Readonly<Record<number, number>> = {
  136: 200,
  137: 204,
  138: 206,
  139: 304,
  140: 400,
  141: 404,
  142: 500,
};
const digitCodes = ["00000", "00001", "00010", "011001", "011010", "011011", "011100", "011101", "011110", "011111"];

/** The status that a connection's first block of response headers begins with. */
export function responseStatus(payload: Buffer): number | undefined {
  // A change of the table's size may stand before it.
  const at = [...payload].findIndex((byte) => (byte & 0xe0) !== 0x20);
  const known = knownStatuses[payload[at]!];
  if (known !== undefined) return known;
  const isHuffman = (payload[at + 1]! & 0x80) !== 0;
  const text = payload.subarray(at + 2, at + 2 + (payload[at + 1]! & 0x7f));
  return Number(isHuffman ? digitsOf(text) : text.toString("latin1"));
}

function digitsOf(bytes: Buffer): string {
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (digits.length < 3) {
    const digit = digitCodes.findIndex((code) => bits.startsWith(code));
    if (digit < 0) return "";
    digits += digit;
    bits = bits.slice(digitCodes[digit]!.length);
  }
  return digits;
}
