/** What a port that speaks TLS asks of its callers, and tells those whom it does not let in. */
import type { TLSSocket, TlsOptions } from "node:tls";
import type { TlsMaterial } from "../certificates.ts";
import type { Logger } from "../log.ts";
import type { Handler, HttpRequest, HttpResponse } from "./exchange.ts";

/** Handshakes that fail are strangers' business: one line tells of this many at most. */
const tellEveryMs = 60_000;

export function tlsOptions({ cert, key, ca }: TlsMaterial): TlsOptions {
  // Whoever shows none that counts is told so in HTTP; see `refusalOf`.
  const asked = ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: false };
  return { cert, key, minVersion: "TLSv1.2", ...asked };
}

/** HTTP/2 first: a client that speaks both gets the better one. */
export function protocolsOf(http2: boolean | undefined): string[] {
  return http2 === true ? ["h2", "http/1.1"] : ["http/1.1"];
}

const sentences: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "The client certificate has expired.",
  CERT_NOT_YET_VALID: "The client certificate is not valid yet.",
  INVALID_PURPOSE: "The client certificate is not made for clients.",
};

/** Answers every request of a connection that may not make any; undefined for one that may. */
export function refusalOf(socket: TLSSocket, { ca }: TlsMaterial): Handler | undefined {
  if (ca === undefined || socket.authorized) return undefined;
  const sentence = whyNotAuthorized(socket);
  return async (request) => refusal(request, sentence);
}

function whyNotAuthorized(socket: TLSSocket): string {
  const shown = socket.getPeerCertificate();
  if (!shown || Object.keys(shown).length === 0) return "This port asks for a client certificate, and none was shown.";
  const code = String(socket.authorizationError);
  return sentences[code] ?? `The client certificate is of no authority that this port accepts (${code}).`;
}

/** In the words of whatever protocol it is: Connect reads the body, gRPC the trailers, gRPC-Web the headers. */
function refusal(request: HttpRequest, message: string): HttpResponse {
  const type = request.header.get("content-type") ?? "";
  if (!type.startsWith("application/grpc")) {
    const body = new TextEncoder().encode(JSON.stringify({ code: "unauthenticated", message }));
    const header = new Headers({ "content-type": "application/json" });
    // The next one would have the same answer.
    if (request.version !== "2.0") header.set("connection", "close");
    return { status: 401, header, body };
  }
  const status = { "grpc-status": "16", "grpc-message": encodeURIComponent(message) };
  return request.version === "2.0" && !type.startsWith("application/grpc-web")
    ? { status: 200, header: new Headers({ "content-type": type }), trailer: new Headers(status) }
    : { status: 200, header: new Headers({ "content-type": type, ...status }) };
}

/** What strangers do to a port is no error of ours; a caller that is set up wrongly is worth a line now and then. */
export function createHandshakeLog(log: Logger): (error: Error) => void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return (error) => {
    untold++;
    if (performance.now() - toldAt < tellEveryMs) return;
    toldAt = performance.now();
    const { code } = error as NodeJS.ErrnoException;
    const cleartext = code === "ERR_SSL_HTTP_REQUEST";
    log.warn(
      { code, handshakes: untold },
      cleartext
        ? "a caller spoke cleartext HTTP to a TLS port: its URL must begin with https"
        : "a TLS handshake failed",
    );
    untold = 0;
  };
}
