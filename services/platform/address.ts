/** Where a process listens, in the words that people and clients use. */
import { isIP } from "node:net";
import { ConfigError } from "./config.ts";

/** Brackets around what would otherwise be taken for a port. */
export function hostInUrl(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

/** What listens on every address is reached from this machine at its own. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return /^[0:]+$/.test(host) ? "::1" : host;
}

/** The URL under which this machine reaches what listens there. */
export function urlOfListener(scheme: "http" | "https", host: string, port: number): string {
  return `${scheme}://${hostInUrl(reachable(host))}:${port}`;
}

export interface ListenPlace {
  host: string;
  port: number;
  /** The start of both variables' names, such as `ACCOUNT` or `ACCOUNT_METRICS`. */
  variable?: string;
}

/** Something that somebody must see to, in one sentence: it is printed alone, without a stack. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** Bun has no code for a name that does not resolve (seen on 1.4.5). */
function codeOf(error: unknown): string | undefined {
  const { code, message } = (error ?? {}) as { code?: string; message?: string };
  return code ?? (message?.startsWith("Failed to listen at ") ? "ENOTFOUND" : undefined);
}

/**
 * Why a port cannot be opened, in one sentence. A port that another process has may be free at the next try; an address that is
 * not this machine's will not be, which is the configuration's fault.
 */
export function listenError(error: unknown, { host, port, variable }: ListenPlace): Error {
  const [hostName, portName] = variable === undefined ? ["", ""] : [`${variable}_HOST: `, `${variable}_PORT: `];
  const at = hostInUrl(host);
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return new StartError(`${portName}Port ${port} on ${at} is taken by another process.`, { cause: error });
    case "EACCES":
    case "EPERM":
      return new ConfigError([`${portName}this process may not listen on port ${port}; take one above 1023`], {
        cause: error,
      });
    case "EADDRNOTAVAIL":
    case "EAFNOSUPPORT":
    case "EINVAL":
      return new ConfigError([`${hostName}${at} is no address of this machine`], { cause: error });
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new ConfigError([`${hostName}the name ${at} is not known here`], { cause: error });
    default:
      return error instanceof Error ? error : new Error(String(error));
  }
}
