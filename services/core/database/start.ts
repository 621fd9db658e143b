/** A process's first contact with its database: what no further attempt will mend is told with the variable's name. */
import { connect } from "node:net";
import { ConfigError } from "#services/platform/config.ts";
import { isTlsFailure } from "#services/platform/tls-failure.ts";
import { migrate } from "./client.ts";
import { type DatabaseTarget, parseDatabaseUrl } from "./target.ts";
import { tlsOf } from "./tls.ts";

/** A question and one byte: whoever needs longer is away. */
const ASK_TIMEOUT_MS = 5_000;

/** The server's refusals that stand until somebody changes something: password, access rules, the database's name. */
const FINAL_STATES: readonly string[] = ["28P01", "28000", "3D000", "42501"];

/**
 * Brings the schema up to date; see `migrate`.
 *
 * @throws ConfigError where the server is reached and refuses us, or we refuse it. Any other error passes: it may go by itself.
 */
export async function prepareDatabase(url: string, onWarning?: (sentence: string) => void): Promise<void> {
  try {
    await requireTls(url);
    await migrate(url, onWarning);
  } catch (error) {
    const refusal = refusalOf(error);
    throw refusal === undefined ? error : new ConfigError([`DATABASE_URL: ${refusal}`]);
  }
}

/** In one sentence; undefined where it may go by itself. */
export function refusalOf(error: unknown): string | undefined {
  const found = firstWithCode(error);
  if (found === undefined) return undefined;
  if (FINAL_STATES.includes(found.code)) {
    const hint = found.message.includes("no encryption") ? " (add sslmode=verify-full, or require)" : "";
    return `Postgres refuses us: ${found.message}${hint}`;
  }
  return isTlsFailure(found) ? `TLS to Postgres fails: ${found.message}` : undefined;
}

/** Drizzle wraps what the driver throws. */
function firstWithCode(error: unknown): (Error & { code: string }) | undefined {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (typeof (one as { code?: unknown }).code === "string") return one as Error & { code: string };
  }
  return undefined;
}

/** The driver begins TLS although the server has said no, and is then told that the connection was reset. */
async function requireTls(url: string): Promise<void> {
  const target = parseDatabaseUrl(url);
  if ("wrong" in target) throw new ConfigError(target.wrong.map((one) => `DATABASE_URL: ${one}`));
  const tls = tlsOf(target);
  if (typeof tls === "string") return;
  for (const place of target.hosts) {
    if ((await askForTls(place)) === "N") {
      throw new ConfigError([
        `DATABASE_URL: the server at ${place.host} offers no TLS, which its sslmode (or DATABASE_CA) demands`,
      ]);
    }
  }
}

/** Length 8, and the number that stands for "may I begin TLS?". */
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** @returns the server's answer, `S` or `N`; undefined where there is none. */
function askForTls({ host, port }: DatabaseTarget["hosts"][number]): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect({ host, port });
  const end = (answer?: string) => {
    socket.destroy();
    resolve(answer);
  };
  socket.setTimeout(ASK_TIMEOUT_MS, () => end());
  socket.once("connect", () => socket.write(sslRequest));
  socket.once("data", (bytes) => end(bytes.toString("latin1")[0]));
  socket.once("error", () => end());
  socket.once("close", () => end());
  return promise;
}
