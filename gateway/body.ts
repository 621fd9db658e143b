import { RestError } from "./rest-error.ts";

/** Most bytes that the body of an ordinary call may have: a text, a link and a thousand campaign ids are 40 KB. */
export const formLimitBytes = 256 * 1024;

/** Most bytes of an upload: the largest file, 50 MiB, and room for what multipart puts around it. */
export const uploadLimitBytes = 52 * 1024 * 1024;

/** The body is larger than the call takes, however often it is sent. */
export class BodyTooLargeError extends RestError {
  constructor(limitBytes: number) {
    super("func", `The request body is larger than ${limitBytes} bytes.`);
  }
}

/** How much a body may be, and how slowly it may come. */
export interface BodyLimits {
  readonly bytes: number;
  /** Over each window; a body that comes more slowly is given up, so that it holds nothing for long. */
  readonly bytesPerSecond: number;
  /** Default 10,000: a phone that loses its network for a moment is forgiven. */
  readonly windowMs?: number;
}

/** A whole form in a minute. */
export const formBytesPerSecond = 4_096;
const defaultWindowMs = 10_000;

/**
 * The body as it comes. A declared length is believed when it is too large, and what arrives is counted either way; more
 * is never taken in. A compressed body is refused unread: what it unfolds to could be anything.
 *
 * @throws BodyTooLargeError if the body is larger, RestError `func` if it is compressed, too slow, or breaks off.
 */
export async function* bodyChunks(request: Request, limits: BodyLimits): AsyncGenerator<Uint8Array, void, void> {
  refuseUnread(request.headers, limits.bytes);
  if (request.body === null) return;
  let size = 0;
  for await (const chunk of paced(request.body, limits)) {
    size += chunk.byteLength;
    // Leaving the loop cancels the stream, so that the rest is not taken in.
    if (size > limits.bytes) throw new BodyTooLargeError(limits.bytes);
    yield chunk;
  }
}

/** The whole body in one piece. Throws as `bodyChunks` does. */
export async function readBody(request: Request, limits: BodyLimits): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bodyChunks(request, limits)) chunks.push(chunk);
  return joined(chunks);
}

export function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.byteLength, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

function refuseUnread(headers: Headers, limitBytes: number): void {
  if (Number(headers.get("content-length") ?? 0) > limitBytes) throw new BodyTooLargeError(limitBytes);
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  if (encoding === "" || encoding === "identity") return;
  throw new RestError("func", "Send the request body as it is, without a content encoding.");
}

async function* paced(
  body: ReadableStream<Uint8Array>,
  { bytesPerSecond, windowMs = defaultWindowMs }: BodyLimits,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  const least = (bytesPerSecond * windowMs) / 1000;
  let inWindow = 0;
  let slow = false;
  const windows = setInterval(() => {
    slow = inWindow < least;
    inWindow = 0;
    if (slow) void reader.cancel().catch(() => {});
  }, windowMs);
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (slow) throw tooSlow(bytesPerSecond);
      if (done || value === undefined) return;
      inWindow += value.byteLength;
      yield value;
    }
  } finally {
    clearInterval(windows);
    void reader.cancel().catch(() => {});
  }
}

async function read(reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> }) {
  try {
    return await reader.read();
  } catch (cause) {
    throw new RestError("func", "The request body broke off.", { cause });
  }
}

function tooSlow(bytesPerSecond: number): RestError {
  const message = `The request body comes too slowly: at least ${bytesPerSecond} bytes a second are needed. Try a faster connection.`;
  return new RestError("func", message);
}
