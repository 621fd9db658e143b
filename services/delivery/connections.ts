/**
 * Requests to the Bot API over connections that are kept, on the runtime's HTTP client.
 *
 * Bun's own fetch keeps 64 idle connections a process, and some hundreds of requests are on the wire at once here: all
 * above 64 would open a connection for one request, over TLS with a handshake each. This client keeps them all, tells
 * whether a connection ever stood, and follows no redirect.
 */
import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";

/** No connection stood when it failed, so that nothing can have been written. */
export class NotConnectedError extends Error {
  constructor() {
    super("No connection could be opened.");
  }
}

/** The connection ended before the answer did. */
export class CutError extends Error {
  constructor() {
    super("The connection was cut.");
  }
}

/** No answer came in time. */
export class TimeoutError extends Error {
  constructor() {
    super("There was no answer in time.");
  }
}

export interface HttpAnswer {
  status: number;
  /** The header as it came. */
  retryAfter: string | undefined;
  text: string;
}

export interface Connections {
  /**
   * One POST of JSON, made once.
   * @param onWritten called when the request goes onto its connection.
   * @throws NotConnectedError, CutError, or TimeoutError. None names the URL.
   */
  post(path: string, json: string, timeoutMs: number, onWritten?: () => void): Promise<HttpAnswer>;
  /** For grammY, which makes the requests that upload files; gives up when its signal says so. */
  fetch(onWritten?: () => void): typeof fetch;
}

/** Connections that wait for their next request; more are closed. */
const MAX_IDLE_CONNECTIONS = 4_096;
/**
 * Shorter than servers and what stands between keep an idle connection: a request that is written to one while it is being
 * closed is in doubt. HTTP servers wait from 5 s (Node) to 75 s (nginx).
 */
const IDLE_MS = 4_000;
/** Steps before anything can be written. */
const CONNECTING = new Set(["connect", "getaddrinfo"]);

/** @param apiRoot for example https://api.telegram.org; a path in it stands before each request's. */
export function createConnections(apiRoot: string): Connections {
  const { protocol, origin, hostname, port, pathname } = new URL(apiRoot);
  const root = pathname.replace(/\/$/, "");
  const [client, connected] = protocol === "https:" ? [https, "secureConnect"] : [http, "connect"];
  const agent = new client.Agent({ keepAlive: true, maxFreeSockets: MAX_IDLE_CONNECTIONS, timeout: IDLE_MS });
  const target = { agent, hostname: unbracketed(hostname), port: port || undefined, method: "POST" };

  async function post(path: string, json: string, timeoutMs: number, onWritten?: () => void): Promise<HttpAnswer> {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(json) };
    const request = client.request({ ...target, path: root + path, headers });
    const timer = setTimeout(() => giveUp(request), timeoutMs);
    const answer = answerTo(request);
    if (onWritten) whenConnected(request, connected, onWritten);
    request.end(json);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async function stream(url: string, { headers, body, signal }: StreamInit, onWritten?: () => void) {
    const request = client.request({ ...target, path: url.slice(origin.length), headers });
    const abort = () => giveUp(request);
    signal.addEventListener("abort", abort, { once: true });
    const answer = answerTo(request);
    if (onWritten) whenConnected(request, connected, onWritten);
    // What fails while the body is read is told by grammY, which aborts.
    body.pipe(request);
    const { text } = await answer.finally(() => signal.removeEventListener("abort", abort));
    return { json: () => JSON.parse(text) };
  }

  return {
    post,
    fetch: (onWritten) => ((url: string, init: StreamInit) => stream(url, init, onWritten)) as unknown as typeof fetch,
  };
}

/** What grammY gives its `fetch` for an upload. */
interface StreamInit {
  headers: Record<string, string>;
  body: Readable;
  signal: AbortSignal;
}

/** URL keeps the brackets of an IPv6 address, which no resolver knows. */
function unbracketed(hostname: string): string {
  return hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
}

function whenConnected(request: http.ClientRequest, connected: string, then: () => void): void {
  request.once("socket", (socket) => {
    if (socket.connecting) socket.once(connected, then);
    else then();
  });
}

/** While it is connecting nothing has been written, however long that took. */
function giveUp(request: http.ClientRequest): void {
  request.destroy(request.socket?.connecting === false ? new TimeoutError() : new NotConnectedError());
}

function answerTo(request: http.ClientRequest): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  let answered = false;
  request.on("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () => {
      if (!response.complete) return;
      answered = true;
      const { statusCode: status = 0, headers } = response;
      resolve({ status, retryAfter: headers["retry-after"], text: textOf(chunks) });
    });
    response.on("error", (error) => reject(faultOf(error)));
  });
  request.on("error", (error) => reject(faultOf(error)));
  // Also after an answer that was not complete.
  request.on("close", () => {
    if (!answered) reject(new CutError());
  });
  return promise;
}

function textOf(chunks: Buffer[]): string {
  return (chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString("utf8");
}

/** Errors of the runtime stay here: some hold the URL. */
function faultOf(error: NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] }): Error {
  if (error instanceof NotConnectedError || error instanceof TimeoutError) return error;
  // One error for each address that was tried may stand in another one.
  const attempts = error.errors ?? [error];
  const neverStood = attempts.length > 0 && attempts.every(({ syscall = "" }) => CONNECTING.has(syscall));
  return neverStood ? new NotConnectedError() : new CutError();
}
