import { connect as connectTcp } from "node:net";
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  ErrorCode,
  type NatsConnection,
  NatsError,
  nkeyAuthenticator,
} from "nats";
import { ConfigError } from "#services/platform/config.ts";
import type { Logger } from "#services/platform/log.ts";
import { readSmallFile } from "#services/platform/secret-file.ts";
import { isTlsFailure } from "#services/platform/tls-failure.ts";
import { parseQueueUrl, type QueueLogin } from "./servers.ts";
import type { QueueAccess } from "./variables.ts";

export interface QueueOptions {
  /** One or several, separated by commas; may hold a user and password, or a token. */
  url: string;
  /** Shown in the server's list of connections. */
  name: string;
  /** Default: what the URL says. */
  access?: QueueAccess;
  log?: Logger;
}

/** An attempt takes milliseconds; one that was cut in its handshake may never say so (nats 2.29). */
const ATTEMPT_MS = 5_000;
const RETRY_MS = 200;
/** Between two lines of the log about servers that are away. */
const TELL_AGAIN_MS = 30_000;
const maxCredsBytes = 64 * 1024;

/** What no further attempt will mend, with the variable that it is about. */
const FINAL: Readonly<Record<string, string>> = {
  [ErrorCode.AuthorizationViolation]:
    "NATS_URL: NATS refuses the user, password, token or key that it is given, or wants one",
  [ErrorCode.AuthenticationExpired]: "NATS_CREDS: these credentials have expired",
  [ErrorCode.AuthenticationTimeout]: "NATS_URL: NATS wants a login, and was given none in time",
  [ErrorCode.BadAuthentication]: "NATS_CREDS: the login cannot be used",
  [ErrorCode.BadCreds]: "NATS_CREDS: the credentials cannot be used",
  [ErrorCode.InvalidOption]: "NATS_URL: the connection's options contradict each other",
  [ErrorCode.ServerOptionNotAvailable]:
    "NATS_URL: TLS is asked for (tls://, NATS_CA or NATS_CERT), and the server offers none",
};

/**
 * Connects, and stays: a server that is away is tried again for ever, because nothing is lost meanwhile, and the log says so.
 * Resolves when the first connection stands.
 *
 * @throws ConfigError where a server is reached and does not let us in, or we do not trust it.
 */
export async function connectQueue(options: QueueOptions): Promise<NatsConnection> {
  let toldAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const attempt = await tryOnce(options);
    if ("connection" in attempt) return attempt.connection;
    await refuseWhatStays(options, attempt.failure);
    if (performance.now() - toldAt > TELL_AGAIN_MS) {
      toldAt = performance.now();
      options.log?.warn({ err: attempt.failure }, "NATS cannot be reached; it is tried again");
    }
    await Bun.sleep(RETRY_MS);
  }
}

class NoAnswer extends Error {
  override readonly name = "NoAnswer";
}

async function tryOnce(options: QueueOptions): Promise<{ connection: NatsConnection } | { failure: unknown }> {
  const attempt = connectOnce(options);
  const late = Bun.sleep(ATTEMPT_MS).then(() => undefined);
  try {
    const connection = await Promise.race([attempt, late]);
    if (connection) return { connection };
    // Should it stand after all, nobody has it.
    void attempt.then((orphan) => orphan.close()).catch(() => {});
    return { failure: new NoAnswer("NATS does not answer in time.") };
  } catch (failure) {
    return { failure };
  }
}

/**
 * The client gives up a connection that stood when the server refuses it twice. A process without one would do nothing, and
 * look well: it drains, and starts again with what its variables and files say then.
 */
export function drainWhenLost(
  connection: NatsConnection,
  log: Logger,
  drain: () => void = () => process.kill(process.pid, "SIGTERM"),
): void {
  void connection.closed().then((error) => {
    if (!error) return;
    log.fatal({ err: error }, "NATS lets us in no more; this process drains, to be started again");
    drain();
  });
}

/** Refusals, timeouts and names that do not resolve have a code; what is wrong with the options may have none. */
async function refuseWhatStays(options: QueueOptions, error: unknown): Promise<void> {
  const code = error instanceof NatsError ? error.code : undefined;
  const sentence = code === undefined ? undefined : FINAL[code];
  if (sentence !== undefined) throw new ConfigError([sentence]);
  if (isTlsFailure(error)) throw new ConfigError([`NATS_CA: TLS to NATS fails: ${(error as Error).message}`]);
  if (code === ErrorCode.Timeout && (await wantsCertificate(options))) {
    throw new ConfigError(["NATS_CERT: NATS wants a client certificate, and was given none that it accepts"]);
  }
  const mayMend = error instanceof NoAnswer || typeof (error as { code?: unknown } | null)?.code === "string";
  if (!mayMend) throw error;
}

/**
 * A server that wants a client certificate says so in its greeting, and closes after the handshake without a word when it gets
 * none that it accepts. The client takes that for a server that does not answer.
 */
async function wantsCertificate({ url }: QueueOptions): Promise<boolean> {
  const parsed = parseQueueUrl(url);
  if ("wrong" in parsed) return false;
  const [host, port] = splitServer(parsed.servers[0]!);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connectTcp({ host, port });
  const end = (answer: boolean) => {
    socket.destroy();
    resolve(answer);
  };
  socket.setTimeout(ATTEMPT_MS, () => end(false));
  socket.once("data", (bytes) => end(/"tls_verify" *: *true/.test(bytes.toString("latin1"))));
  socket.once("error", () => end(false));
  socket.once("close", () => end(false));
  return await promise;
}

function splitServer(server: string): [host: string, port: number] {
  const colon = server.lastIndexOf(":");
  return [server.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), Number(server.slice(colon + 1))];
}

async function connectOnce({ url, name, access }: QueueOptions): Promise<NatsConnection> {
  const parsed = parseQueueUrl(url);
  if ("wrong" in parsed) throw new ConfigError(parsed.wrong.map((one) => `NATS_URL: ${one}`));
  const login = access === undefined || access.login.kind === "none" ? parsed.login : access.login;
  const tls = access?.tls ?? (parsed.tls ? {} : undefined);
  return await connect({
    servers: [...parsed.servers],
    name,
    ...loginOptions(login),
    ...(tls === undefined ? {} : { tls }),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    // A half-open connection is noticed within 2 × this.
    pingInterval: 5_000,
    maxPingOut: 2,
    timeout: ATTEMPT_MS - RETRY_MS,
  });
}

function loginOptions(login: QueueLogin): Partial<ConnectionOptions> {
  switch (login.kind) {
    case "none":
      return {};
    case "password":
      return { user: login.user, pass: login.password };
    case "token":
      return { token: login.token };
    case "nkey":
      return { authenticator: nkeyAuthenticator(new TextEncoder().encode(login.seed)) };
    case "creds":
      return { authenticator: credentials(login) };
    default:
      return login satisfies never;
  }
}

/** A file is read at each connection: credentials that were renewed are used without a restart. */
function credentials({ text, path }: { text?: string; path?: string }): Authenticator {
  return (nonce) => {
    const content = path === undefined ? { value: text! } : readSmallFile(path, maxCredsBytes);
    if ("wrong" in content) throw new NatsError(`the file of NATS_CREDS ${content.wrong}`, ErrorCode.BadCreds);
    // The client's parser wants a line end after the last line.
    return credsAuthenticator(new TextEncoder().encode(`${content.value}\n`))(nonce);
  };
}
