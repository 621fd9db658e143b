import { RestError } from "./rest-error.ts";

/** Most bytes that the body of an ordinary call may have. */
export const formLimitBytes = 1024 * 1024;

/** Most bytes of an upload: the largest file, 50 MiB, and room for what multipart puts around it. */
export const uploadLimitBytes = 52 * 1024 * 1024;

/** The body is larger than the call takes, however often it is sent. */
export class BodyTooLargeError extends RestError {
  constructor(limitBytes: number) {
    super("func", `The request body is larger than ${limitBytes} bytes.`);
  }
}

/**
 * Reads a request's body, never holding more than `limitBytes` of it: a declared length is believed when it is too large,
 * and what arrives is counted either way.
 *
 * @throws BodyTooLargeError if the body is larger, RestError `func` if it breaks off.
 */
export async function readBody(request: Request, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(request.headers.get("content-length") ?? 0) > limitBytes) throw new BodyTooLargeError(limitBytes);
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunksOf(request.body)) {
    size += chunk.byteLength;
    // Leaving the loop cancels the stream, so that the rest is not taken in.
    if (size > limitBytes) throw new BodyTooLargeError(limitBytes);
    chunks.push(chunk);
  }
  return joined(chunks, size);
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw new RestError("func", "The request body broke off.", { cause });
  }
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}
