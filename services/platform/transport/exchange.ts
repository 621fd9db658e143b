/** One request and its response, the same for HTTP/1 and HTTP/2. */
export interface HttpRequest {
  readonly version: "1.0" | "1.1" | "2.0";
  /** Exactly as it was sent: `get` is not GET. */
  readonly method: string;
  /** `/path?query` in ASCII without dot segments, or `*`. */
  readonly target: string;
  readonly header: Headers;
  /** To be read once. It throws BodyBroken when the peer does not send the rest. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The same body, where it has come whole by the time the request is answered. */
  readonly wholeBody: Uint8Array<ArrayBuffer> | undefined;
  /** Aborted when nobody waits for the response any more. */
  readonly signal: AbortSignal;
  /** The peer's address. */
  readonly address: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly header?: Headers | undefined;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  /** HTTP/2 only. */
  readonly trailer?: Headers | undefined;
}

/** Answers a request. A rejection is a fault of ours, unless the body broke: it is logged and becomes a 500. */
export type Handler = (request: HttpRequest) => Promise<HttpResponse>;

/** The peer has gone, or its body is not what its headers said. */
export class BodyBroken extends Error {
  override readonly name = "BodyBroken";

  constructor() {
    super("The request's body broke off.");
  }
}
