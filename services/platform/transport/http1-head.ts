/** The line and headers of an HTTP/1 request, read from bytes that anybody may have sent. */
import { asterisk, originForm } from "./target.ts";

export interface Http1Head {
  readonly version: "1.0" | "1.1";
  readonly method: string;
  /** `/path?query`, or `*`. */
  readonly target: string;
  readonly header: Headers;
  /** How the body ends: after that many bytes, or with its last chunk. */
  readonly body: number | "chunked";
  /** The client wants to be told before it sends its body. */
  readonly expectsContinue: boolean;
  /** The connection may carry another request after this one. */
  readonly keepsAlive: boolean;
}

/** A request that is refused before anybody looks at what it asks for. */
export interface Http1Refusal {
  readonly status: 400 | 408 | 413 | 414 | 417 | 431;
  readonly message: string;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Controls but for tabs, and a CR or LF alone, which would be a line's end to somebody else. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for.
const forbidden = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]|\r(?!\n)|(?<!\r)\n/;
const requestLine = /^([^ ]+) ([^ ]+) HTTP\/(\d)\.(\d)$/;
/** 15 digits are exact numbers, and more than anybody can send. */
const decimal = /^\d{1,15}$/;

/** Fields that decide where a request ends or how it is answered: said twice, two readers may believe different ones. */
const onlyOnce = new Set(["host", "content-length", "transfer-encoding", "expect", "authorization", "content-type"]);

/** Reads the text before the empty line, which has been found already. Strict: what is not HTTP is refused. */
export function readHttp1Head(text: string, maxHeaders: number): Http1Head | Http1Refusal {
  if (forbidden.test(text)) return refused(400, "The request has bytes that HTTP has not.");
  const lines = text.split("\r\n");
  const first = requestLine.exec(lines[0]!);
  if (first === null || !token.test(first[1]!)) return refused(400, "The request line is not HTTP.");
  const [, method, rawTarget, major, minor] = first as unknown as [string, string, string, string, string];
  if (major !== "1" || (minor !== "0" && minor !== "1")) return refused(400, "This port speaks HTTP/1.1 here.");
  if (lines.length - 1 > maxHeaders) return refused(431, `A request has at most ${maxHeaders} headers.`);
  const target = rawTarget === asterisk && method === "OPTIONS" ? asterisk : originForm(rawTarget);
  if (target === undefined) return refused(400, "The request's target has no path that can be read in one way.");
  const header = readFields(lines);
  if (!(header instanceof Headers)) return header;
  return completed({ version: `1.${minor}` as Http1Head["version"], method, target, header });
}

function readFields(lines: readonly string[]): Headers | Http1Refusal {
  const header = new Headers();
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = line.indexOf(":");
    // White space before the colon, or at the line's start (a folded line), is no part of a token either.
    const name = colon < 1 ? undefined : fieldName(line.slice(0, colon));
    if (name === undefined) return refused(400, "A header is not HTTP.");
    if (onlyOnce.has(name) && header.has(name)) return refused(400, `The header ${name} is given twice.`);
    header.append(name, line.slice(colon + 1));
  }
  return header;
}

/** Names as clients write them; looking one up costs a fifth of reading it. */
const usualNames = new Map(
  [
    ...["Host", "Connection", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Origin"],
    ...["Content-Type", "Content-Length", "Transfer-Encoding", "Referer", "X-Request-Id", "X-Forwarded-For"],
    ...["Connect-Protocol-Version", "Connect-Timeout-Ms", "X-Client-Address", "X-Client-Session", "Traceparent"],
  ].flatMap((name) => [
    [name, name.toLowerCase()],
    [name.toLowerCase(), name.toLowerCase()],
  ]),
);

function fieldName(text: string): string | undefined {
  return usualNames.get(text) ?? (token.test(text) ? text.toLowerCase() : undefined);
}

type Start = Pick<Http1Head, "version" | "method" | "target" | "header">;

function completed(start: Start): Http1Head | Http1Refusal {
  const { version, header } = start;
  if (version === "1.1" && !header.has("host")) return refused(400, "The header host is missing.");
  const body = bodyFraming(start);
  if (typeof body === "object") return body;
  const expect = header.get("expect");
  if (expect !== null && expect.toLowerCase() !== "100-continue") return refused(417, "Only 100-continue is known.");
  const closes = /(?:^|,)\s*close\s*(?:,|$)/i.test(header.get("connection") ?? "");
  return {
    ...start,
    body,
    expectsContinue: expect !== null && version === "1.1",
    // Callers of HTTP/1.0 learn a body's end from the connection's.
    keepsAlive: version === "1.1" && !closes,
  };
}

/** A length and chunks together, or chunks that an old proxy would not understand, are how requests are smuggled. */
function bodyFraming({ version, header }: Start): number | "chunked" | Http1Refusal {
  const coding = header.get("transfer-encoding");
  const length = header.get("content-length");
  if (coding !== null) {
    const understood = version === "1.1" && length === null && coding.toLowerCase() === "chunked";
    return understood ? "chunked" : refused(400, "The transfer-encoding can only be chunked, without a length.");
  }
  if (length === null) return 0;
  return decimal.test(length) ? Number(length) : refused(400, "The content-length is not a number.");
}

export function refused(status: Http1Refusal["status"], message: string): Http1Refusal {
  return { status, message };
}

export function isRefusal(value: Http1Head | Http1Refusal): value is Http1Refusal {
  return "status" in value;
}

/** Whether the bytes so far can become a request, so that what is none is not waited for. */
export function mayBeHttp1(bytes: Buffer): boolean {
  const lineEnd = bytes.indexOf(10);
  if (lineEnd < 0) return token.test(bytes.toString("latin1", 0, 1));
  return requestLine.test(bytes.toString("latin1", 0, lineEnd - 1)) && bytes[lineEnd - 1] === 13;
}
