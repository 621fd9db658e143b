/** The parameters of a DATABASE_URL: libpq's, and those that hosts and other drivers add. */
import { distance } from "#services/platform/config-names.ts";

/** What the parameters say, those that mean nothing to us left out. */
export interface UrlParameters {
  /** libpq's other way of writing the parts of the URL itself. */
  readonly given: Readonly<Partial<Record<"host" | "port" | "user" | "password" | "dbname", string>>>;
  readonly ssl: {
    readonly mode?: SslMode;
    readonly rootCert?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly passphrase?: string;
    readonly direct?: boolean;
    readonly minVersion?: "TLSv1.2" | "TLSv1.3";
    readonly maxVersion?: "TLSv1.2" | "TLSv1.3";
  };
  readonly applicationName?: string;
  readonly connectTimeoutSeconds?: number;
  readonly keepAliveSeconds?: number;
  /** Settings for each session, as `-c name=value`. */
  readonly options?: string;
  /** False where the URL says that a pooler stands between. */
  readonly prepare?: boolean;
  /** Connections of this process at most. */
  readonly connections?: number;
}

type Building = { -readonly [K in keyof UrlParameters]: UrlParameters[K] };

/** Takes a value into what is being built, or returns why it cannot be taken: the end of "its parameter x …". */
type Take = (value: string, into: Building) => string | undefined;

const nothing: Take = () => undefined;
const oneOf =
  (fine: readonly string[], why: string): Take =>
  (value) =>
    fine.includes(value) ? undefined : why;
const never =
  (why: string): Take =>
  () =>
    why;
const put =
  (part: (value: string) => Partial<UrlParameters>): Take =>
  (value, into) => {
    const { given, ssl, ...rest } = part(value);
    Object.assign(into, rest, { given: { ...into.given, ...given }, ssl: { ...into.ssl, ...ssl } });
    return undefined;
  };
const number =
  (min: number, max: number, part: (value: number) => Partial<UrlParameters>): Take =>
  (value, into) => {
    const fits = /^\d{1,9}$/.test(value) && Number(value) >= min && Number(value) <= max;
    return fits ? put(() => part(Number(value)))(value, into) : `is not a number from ${min} to ${max}`;
  };
/** Where libpq would do something that this driver cannot, and a bare number harms nobody. */
const idleNumber = number(0, 1e9, () => ({}));
const tlsVersion =
  (part: "minVersion" | "maxVersion"): Take =>
  (value, into) => {
    if (value !== "TLSv1.2" && value !== "TLSv1.3") return "is neither TLSv1.2 nor TLSv1.3";
    return put(() => ({ ssl: { [part]: value } }))(value, into);
  };

/** The later one is the stricter one. */
export const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
export type SslMode = (typeof sslModes)[number];

/** Of several that are given in different words, the strictest counts. */
const takeMode =
  (mode: SslMode): Take =>
  (value, into) => {
    const stricter = sslModes.indexOf(mode) > sslModes.indexOf(into.ssl.mode ?? "disable");
    return put(() => ({ ssl: { mode: stricter ? mode : (into.ssl.mode ?? mode) } }))(value, into);
  };
const write = "would choose a server that cannot be written to";

/** Each parameter that is known, with what becomes of it. Everything else is refused by its name. */
const takes: Readonly<Record<string, Take>> = {
  host: put((host) => ({ given: { host } })),
  port: put((port) => ({ given: { port } })),
  user: put((user) => ({ given: { user } })),
  password: put((password) => ({ given: { password } })),
  dbname: put((dbname) => ({ given: { dbname } })),

  sslmode: (value, into) => (isMode(value) ? takeMode(value)(value, into) : `is none of ${sslModes.join(", ")}`),
  // JDBC's and node-postgres' way.
  ssl: (value, into) => {
    if (value === "false" || value === "0") return takeMode("disable")(value, into);
    const fine = value === "true" || value === "1" || value === "require";
    return fine ? takeMode("require")(value, into) : "is neither true nor false; use sslmode";
  },
  // Prisma's.
  sslaccept: (value, into) => {
    if (value === "strict") return takeMode("verify-full")(value, into);
    return value === "accept_invalid_certs" ? takeMode("require")(value, into) : "is unknown; use sslmode";
  },
  sslrootcert: put((rootCert) => ({ ssl: { rootCert } })),
  sslcert: put((cert) => ({ ssl: { cert } })),
  sslkey: put((key) => ({ ssl: { key } })),
  sslpassword: put((passphrase) => ({ ssl: { passphrase } })),
  sslnegotiation: (value, into) =>
    oneOf(["postgres", "direct"], "is neither postgres nor direct")(value, into) ??
    put(() => ({ ssl: { direct: value === "direct" } }))(value, into),
  ssl_min_protocol_version: tlsVersion("minVersion"),
  ssl_max_protocol_version: tlsVersion("maxVersion"),
  sslcompression: oneOf(["0"], "asks for a compression that TLS has given up"),
  sslsni: oneOf(["1"], "cannot be switched off"),
  sslcertmode: oneOf(["allow"], "is not supported; sslcert and sslkey say which certificate is shown"),
  sslcrl: never("is not supported: lists of revoked certificates are not read"),
  sslcrldir: never("is not supported: lists of revoked certificates are not read"),
  // Bound to TLS' channel, a password cannot be passed on by someone in between; verify-full does not let that one in.
  channel_binding: oneOf(
    ["disable", "prefer"],
    "cannot be demanded, for the driver has no channel binding: take it away, and use sslmode=verify-full",
  ),
  require_auth: never("is not supported: the server decides how it asks for the password"),
  requirepeer: never("is not supported"),
  gssencmode: oneOf(["disable", "prefer"], "asks for encryption by GSSAPI, which is not supported: use sslmode"),
  krbsrvname: nothing,
  gsslib: nothing,
  gssdelegation: oneOf(["0"], "asks for GSSAPI, which is not supported"),

  application_name: put((applicationName) => ({ applicationName })),
  // The processes have names of their own.
  fallback_application_name: nothing,
  connect_timeout: number(0, 600, (seconds) => (seconds === 0 ? {} : { connectTimeoutSeconds: Math.max(seconds, 2) })),
  options: put((options) => ({ options })),
  client_encoding: (value) => (/^(auto|utf-?8)$/i.test(value) ? undefined : "is not UTF8"),
  target_session_attrs: oneOf(["any", "read-write", "primary"], write),
  load_balance_hosts: oneOf(["disable"], "is not supported: hosts are tried in their order"),
  replication: oneOf(["false", "off", "no", "0"], "is for replicas"),
  hostaddr: never("is not supported: write the address as the host"),
  passfile: never("is not supported: write the password into the URL, and the URL into DATABASE_URL_FILE's file"),
  service: never("is not supported: no service file is read"),
  servicefile: never("is not supported: no service file is read"),
  min_protocol_version: oneOf(["3.0"], "asks for a protocol that the driver does not speak"),
  max_protocol_version: oneOf(["3.0", "3.2", "latest"], "is unknown"),

  // Connections that died are noticed by asking Postgres about them (watchdog.ts), sooner than the kernel would.
  keepalives: oneOf(["0", "1"], "is neither 0 nor 1"),
  keepalives_idle: number(0, 7200, (seconds) => (seconds === 0 ? {} : { keepAliveSeconds: seconds })),
  keepalives_interval: idleNumber,
  keepalives_count: idleNumber,
  tcp_user_timeout: idleNumber,

  // Prisma's and asyncpg's.
  schema: oneOf(["public"], "is not supported: the tables are in public; give each Leadcast a database of its own"),
  pgbouncer: (value, into) => {
    if (value !== "true" && value !== "false") return "is neither true nor false";
    return value === "true" ? put(() => ({ prepare: false }))(value, into) : undefined;
  },
  statement_cache_size: (value, into) =>
    value === "0" ? put(() => ({ prepare: false }))(value, into) : idleNumber(value, into),
  connection_limit: number(10, 1000, (connections) => ({ connections })),
  // How long a call waits is its own deadline's matter.
  pool_timeout: idleNumber,
  socket_timeout: idleNumber,
  // node-postgres': libpq's meaning is what the parameters have here anyway.
  uselibpqcompat: oneOf(["true"], "is not supported: the parameters mean what they mean to libpq"),
};

function isMode(value: string): value is SslMode {
  return (sslModes as readonly string[]).includes(value);
}

/** Settings of the server that people write as parameters. */
const serverSetting = /_timeout$|^(search_path|timezone|datestyle|role|work_mem|statement_timeout|currentschema)$/i;

/** @param wrong gets one entry for each parameter that cannot be used. */
export function parseParameters(query: string, wrong: string[]): UrlParameters {
  const building: Building = { given: {}, ssl: {} };
  const seen = new Map<string, string>();
  for (const part of query.split("&").filter((one) => one !== "")) {
    const [name, value] = splitParameter(part);
    if (name === undefined || value === undefined) wrong.push("a parameter has a % that begins no two hex digits");
    else if (value === "" && name in takes) continue;
    else if ((seen.get(name) ?? value) !== value) wrong.push(`its parameter ${shown(name)} stands there twice`);
    else takeParameter(name, value, building, wrong);
    seen.set(name ?? "", value ?? "");
  }
  return building;
}

function splitParameter(part: string): [name: string | undefined, value: string | undefined] {
  const equals = part.indexOf("=");
  const [name, value] = equals < 0 ? [part, ""] : [part.slice(0, equals), part.slice(equals + 1)];
  return [decodePart(name), decodePart(value)];
}

function takeParameter(name: string, value: string, building: Building, wrong: string[]): void {
  const take = Object.hasOwn(takes, name) ? takes[name] : undefined;
  const refusal = take === undefined ? unknown(name) : take(value, building);
  if (refusal !== undefined) wrong.push(`its parameter ${shown(name)} ${refusal}`);
}

function unknown(name: string): string {
  const near = Object.keys(takes).find((known) => distance(name.toLowerCase(), known) <= 2 && known.length > 4);
  if (near !== undefined) return `is unknown; ${near} may be meant`;
  return serverSetting.test(name)
    ? "is unknown; a setting of the server is written options=-c%20name%3Dvalue"
    : "is unknown to Leadcast: take it away";
}

/** A name that is no name may be the rest of a password. */
function shown(name: string): string {
  return /^[A-Za-z]\w{0,40}$/.test(name) ? name : "(unreadable name)";
}

/** @returns undefined where a % does not begin two hex digits, or the bytes are no UTF-8. */
export function decodePart(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
