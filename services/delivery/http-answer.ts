/**
 * Reads one answer of HTTP/1.1 from bytes as they come, cut anywhere:
 *
 * ```
 *   head ──1xx──► head     head ──► sized | chunked | untilEnd ──► whole
 *   any ──too long, malformed, or the end──► broken
 * ```
 *
 * Invariants:
 * 1. Heads together and the body are bounded: more of either is `broken`, however it is framed.
 * 2. What says how long an answer is must be beyond doubt: two lengths, or a length beside chunks, are `broken`.
 * 3. `status` is known as soon as a final head is, and stays, whatever becomes of the body: a refusal proves something
 *    also where its reason cannot be read.
 */

/** All heads of one answer, interim ones included. Telegram's has some 400 bytes. */
const MAX_HEAD_BYTES = 16 * 1024;
/** The longest answer to a message of ours, with 100 links and every letter escaped, is a third of this. */
const MAX_BODY_BYTES = 256 * 1024;
/** A length of a chunk with whatever stands behind it, or a line of a trailer. */
const MAX_LINE_BYTES = 1024;
const HEAD_END = "\r\n\r\n";
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: |$)/;
const CHUNK_LINE = /^([0-9a-f]{1,8})[ \t]*(?:;|$)/i;

type Phase = "head" | "sized" | "untilEnd" | "chunkLength" | "chunk" | "chunkEnd" | "trailer" | "whole" | "broken";

export class HttpAnswer {
  #phase: Phase = "head";
  /** What has come and belongs to a head or a line that is not complete. */
  #pending: Buffer = Buffer.alloc(0);
  #headBytes = 0;
  #body: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;
  /** Of the body where it is sized, else of the chunk. */
  #left = 0;
  #status: number | undefined;
  #retryAfter: string | undefined;
  #keeps = false;
  #idleMs: number | undefined;

  /** Of the final head; undefined until it has come. */
  get status(): number | undefined {
    return this.#status;
  }

  /** The header `retry-after` as it came. */
  get retryAfter(): string | undefined {
    return this.#retryAfter;
  }

  get isWhole(): boolean {
    return this.#phase === "whole";
  }

  get isBroken(): boolean {
    return this.#phase === "broken";
  }

  /** Whether the connection may carry another request. */
  get keepsConnection(): boolean {
    return this.isWhole && this.#keeps;
  }

  /** How long the server keeps an idle connection, where it says. */
  get idleMs(): number | undefined {
    return this.#idleMs;
  }

  /** The body of a whole answer. */
  get text(): string {
    return this.#body.toString("utf8", 0, this.#bodyBytes);
  }

  /** Takes what has come. What stands behind a whole answer belongs to no request, and so the connection ends with it. */
  feed(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0 && !this.isBroken) {
      if (this.isWhole) {
        this.#keeps = false;
        return;
      }
      rest = this.#take(rest);
    }
  }

  /** The connection has ended in order: an answer without a length is whole by that. */
  end(): void {
    if (this.#phase === "untilEnd") this.#phase = "whole";
    else if (!this.isWhole) this.#phase = "broken";
  }

  /** @returns what is left for the next phase. */
  #take(bytes: Buffer): Buffer {
    switch (this.#phase) {
      case "head":
        return this.#takeHead(bytes);
      case "sized":
        return this.#takeSized(bytes, "whole");
      case "chunk":
        return this.#takeSized(bytes, "chunkEnd");
      case "untilEnd":
        return this.#takeSized(bytes, "untilEnd");
      case "chunkLength":
        return this.#takeLine(bytes, (line) => this.#beginChunk(line));
      case "chunkEnd":
        return this.#takeLine(bytes, (line) => (line === "" ? "chunkLength" : "broken"));
      case "trailer":
        return this.#takeLine(bytes, (line) => this.#endTrailer(line));
      default:
        return bytes.subarray(bytes.length);
    }
  }

  #takeHead(bytes: Buffer): Buffer {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const end = all.indexOf(HEAD_END, Math.max(0, this.#pending.length - HEAD_END.length), "latin1");
    this.#pending = end === -1 ? all : Buffer.alloc(0);
    if (this.#headBytes + (end === -1 ? all.length : end) > MAX_HEAD_BYTES) this.#phase = "broken";
    else if (end !== -1) {
      this.#headBytes += end + HEAD_END.length;
      this.#phase = this.#readHead(all.toString("latin1", 0, end));
    }
    return end === -1 ? all.subarray(all.length) : all.subarray(end + HEAD_END.length);
  }

  #readHead(head: string): Phase {
    const [first = "", ...lines] = head.split("\r\n");
    const [, minor, code] = STATUS_LINE.exec(first) ?? [];
    const status = Number(code);
    // Nobody has asked for another protocol.
    if (code === undefined || status === 101) return "broken";
    // Interim answers come before the final one.
    if (status < 200) return "head";
    this.#status = status;
    const headers = headersOf(lines);
    return headers ? this.#readHeaders(headers, minor === "1") : "broken";
  }

  #readHeaders(headers: Map<string, string>, keepsUnlessTold: boolean): Phase {
    this.#retryAfter = headers.get("retry-after");
    const connection = headers.get("connection")?.toLowerCase() ?? "";
    this.#keeps = keepsUnlessTold ? !connection.includes("close") : connection.includes("keep-alive");
    const seconds = /(?:^|[,; ])timeout=(\d{1,6})/i.exec(headers.get("keep-alive") ?? "")?.[1];
    if (seconds !== undefined) this.#idleMs = Number(seconds) * 1000;
    return this.#framingOf(headers);
  }

  #framingOf(headers: Map<string, string>): Phase {
    const coding = headers.get("transfer-encoding");
    const length = headers.get("content-length");
    if (this.#status === 204 || this.#status === 304) return "whole";
    if (coding !== undefined)
      return length === undefined && coding.toLowerCase() === "chunked" ? "chunkLength" : "broken";
    if (length === undefined) {
      this.#keeps = false;
      this.#left = Number.POSITIVE_INFINITY;
      return "untilEnd";
    }
    if (!/^\d{1,15}$/.test(length) || Number(length) > MAX_BODY_BYTES) return "broken";
    this.#left = Number(length);
    return this.#left === 0 ? "whole" : "sized";
  }

  #takeSized(bytes: Buffer, after: Phase): Buffer {
    const taken = Math.min(bytes.length, this.#left);
    this.#left -= taken;
    this.#phase = !this.#keep(bytes.subarray(0, taken)) ? "broken" : this.#left === 0 ? after : this.#phase;
    return bytes.subarray(taken);
  }

  /** @returns false where it would be too much. */
  #keep(bytes: Buffer): boolean {
    const length = this.#bodyBytes + bytes.length;
    if (length > MAX_BODY_BYTES) return false;
    // Mostly all of it comes at once. In small pieces the room doubles, so that each byte is copied a few times only.
    if (this.#bodyBytes === 0) this.#body = bytes;
    else if (length > this.#body.length) {
      const room = Buffer.alloc(Math.min(MAX_BODY_BYTES, Math.max(length, this.#body.length * 2)));
      this.#body.copy(room, 0, 0, this.#bodyBytes);
      this.#body = room;
    }
    if (this.#bodyBytes > 0) bytes.copy(this.#body, this.#bodyBytes);
    this.#bodyBytes = length;
    return true;
  }

  #takeLine(bytes: Buffer, read: (line: string) => Phase): Buffer {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const end = all.indexOf("\r\n", 0, "latin1");
    if ((end === -1 ? all.length : end) > MAX_LINE_BYTES) this.#phase = "broken";
    else if (end !== -1) this.#phase = read(all.toString("latin1", 0, end));
    this.#pending = end === -1 ? all : Buffer.alloc(0);
    return end === -1 ? bytes.subarray(bytes.length) : all.subarray(end + 2);
  }

  #beginChunk(line: string): Phase {
    const length = Number.parseInt(CHUNK_LINE.exec(line)?.[1] ?? "", 16);
    this.#left = length;
    if (length === 0) return "trailer";
    return this.#bodyBytes + length <= MAX_BODY_BYTES ? "chunk" : "broken";
  }

  #endTrailer(line: string): Phase {
    this.#headBytes += line.length + 2;
    if (line === "") return "whole";
    return this.#headBytes > MAX_HEAD_BYTES ? "broken" : "trailer";
  }
}

/** By lower-case name; several of one name with commas between them. Undefined where a line is no header. */
function headersOf(lines: readonly string[]): Map<string, string> | undefined {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, text = ""] = HEADER_LINE.exec(line) ?? [];
    if (name === undefined) return undefined;
    const key = name.toLowerCase();
    const before = headers.get(key);
    headers.set(key, before === undefined ? text.trim() : `${before}, ${text.trim()}`);
  }
  return headers;
}
