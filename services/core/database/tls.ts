/** How a connection to Postgres is encrypted, with libpq's meaning of `sslmode`. */
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate, type TLSSocketOptions } from "node:tls";
import { readAuthorities, readKeyPair } from "#services/platform/pem.ts";
import type { DatabaseTarget } from "./target.ts";
import type { SslMode } from "./url-parameters.ts";

/**
 * `optional`: where the server offers it, unverified, and cleartext where not (libpq's `allow` and `prefer`).
 * An object: nothing without TLS. It is read for each connection.
 */
export type DatabaseTls = "none" | "optional" | TlsDemand;

type TlsDemand = Pick<
  TLSSocketOptions,
  "ca" | "cert" | "key" | "passphrase" | "rejectUnauthorized" | "minVersion" | "maxVersion"
> & { checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined };

/** libpq's list of the system. */
const systemRoots = "system";

/**
 * What the URL's parameters come to.
 *
 * As with libpq, `require` with a list of authorities is `verify-ca`, and no mode with `sslrootcert=system` is `verify-full`.
 * Unlike libpq, no mode with a list of authorities or a certificate is `verify-full` or `require`: whoever gives them wants
 * them used. And no mode at all is `prefer` only where a network lies between.
 */
export function sslModeOf({ hosts, parameters: { ssl } }: DatabaseTarget): SslMode {
  // Nobody stands between a process and its machine's own socket.
  if (hosts.some(({ host }) => host.startsWith("/"))) return "disable";
  if (ssl.mode === undefined) {
    if (ssl.rootCert !== undefined) return "verify-full";
    if (ssl.cert !== undefined || ssl.direct === true) return "require";
    return hosts.every(({ host }) => isLoopback(host)) ? "disable" : "prefer";
  }
  return ssl.mode === "require" && ssl.rootCert !== undefined ? "verify-ca" : ssl.mode;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** @returns what is wrong with the parameters together and with the files they name, each as the end of a sentence. */
export function wrongWithTls(target: DatabaseTarget): string[] {
  const { ssl } = target.parameters;
  const mode = sslModeOf(target);
  const wrong: string[] = [];
  if (ssl.rootCert === systemRoots && mode !== "verify-full")
    wrong.push("sslrootcert=system needs sslmode=verify-full");
  if (mode === "verify-ca" && ssl.rootCert === undefined)
    wrong.push("sslmode=verify-ca needs sslrootcert or DATABASE_CA");
  if ((ssl.cert === undefined) !== (ssl.key === undefined)) wrong.push("sslcert and sslkey need each other");
  if (ssl.direct === true && !isDemanded(mode)) wrong.push("sslnegotiation=direct needs sslmode=require or stricter");
  if ((ssl.cert !== undefined || ssl.rootCert !== undefined) && isWeak(mode)) {
    wrong.push(`sslmode=${mode} would leave its certificates unused; sslmode=require is the least`);
  }
  return [...wrong, ...wrongWithFiles(target)];
}

function wrongWithFiles({ parameters: { ssl } }: DatabaseTarget): string[] {
  const wrong: string[] = [];
  if (ssl.rootCert !== undefined && ssl.rootCert !== systemRoots) {
    const roots = readAuthorities(ssl.rootCert);
    if ("wrong" in roots) wrong.push(`the file of sslrootcert (DATABASE_CA) ${roots.wrong}`);
  }
  if (ssl.cert !== undefined && ssl.key !== undefined) {
    const pair = readKeyPair(ssl.cert, ssl.key, ssl.passphrase);
    if ("wrong" in pair) wrong.push(`the file of ssl${pair.of} (DATABASE_${pair.of.toUpperCase()}) ${pair.wrong}`);
  }
  return wrong;
}

function isDemanded(mode: SslMode): boolean {
  return mode === "require" || mode.startsWith("verify-");
}

function isWeak(mode: SslMode): boolean {
  return mode === "allow" || mode === "prefer";
}

export function tlsOf(target: DatabaseTarget): DatabaseTls {
  const mode = sslModeOf(target);
  if (mode === "disable") return "none";
  return isDemanded(mode) ? demand(target, mode) : "optional";
}

/** The files are read at each connection: certificates that were renewed are used without a restart. */
function demand(target: DatabaseTarget, mode: SslMode): TlsDemand {
  const { ssl } = target.parameters;
  const pair = () => (ssl.cert === undefined ? undefined : readKeyPair(ssl.cert, ssl.key!, ssl.passphrase));
  const part = (name: "cert" | "key") => {
    const read = pair();
    return read !== undefined && "value" in read ? read.value[name] : undefined;
  };
  return {
    get ca() {
      if (ssl.rootCert === undefined || ssl.rootCert === systemRoots) return undefined;
      const roots = readAuthorities(ssl.rootCert);
      // A file that was broken after the start must not mean "any authority".
      return "value" in roots ? roots.value : [];
    },
    get cert() {
      return part("cert");
    },
    get key() {
      return part("key");
    },
    ...(ssl.passphrase === undefined ? {} : { passphrase: ssl.passphrase }),
    ...(ssl.minVersion === undefined ? {} : { minVersion: ssl.minVersion }),
    ...(ssl.maxVersion === undefined ? {} : { maxVersion: ssl.maxVersion }),
    rejectUnauthorized: mode !== "require",
    checkServerIdentity: (name, certificate) =>
      mode === "verify-full" ? identify(target, name, certificate) : undefined,
  };
}

/** The driver names no server that is given by its address: then the certificate must be of one of the addresses. */
function identify({ hosts }: DatabaseTarget, name: string, certificate: PeerCertificate): Error | undefined {
  const addresses = hosts.map(({ host }) => host).filter((host) => isIP(host) !== 0);
  const names = hosts.some(({ host }) => host === name) ? [name] : addresses;
  const errors = names.map((one) => checkServerIdentity(one, certificate));
  return errors.includes(undefined)
    ? undefined
    : (errors[0] ?? new Error("The certificate belongs to no host of the URL."));
}
