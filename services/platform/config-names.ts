/**
 * Names of variables that nothing reads, but that somebody surely meant for us: a TLS key under a misspelt name would
 * otherwise mean no TLS, without a word.
 */

const processes = ["GATEWAY", "ACCOUNT", "CAMPAIGN", "BROADCAST", "DELIVERY"] as const;

/** Those that may stand in a file, under the name with `_FILE` behind it. */
export const secretNames: ReadonlySet<string> = new Set([
  ...["DATABASE_URL", "NATS_URL", "NATS_PASSWORD", "NATS_TOKEN", "NATS_NKEY_SEED", "NATS_CREDS"],
  ...["RPC_TOKENS", "RPC_TOKEN", "SECRET_KEYS", "SERVICE_BOT_TOKEN"],
]);

/** Every variable of any process. What one process does not read may be meant for its neighbour. */
export const knownNames: ReadonlySet<string> = new Set([
  ...secretNames,
  ...processes.flatMap((name) => [`${name}_HOST`, `${name}_PORT`, `${name}_METRICS_HOST`, `${name}_METRICS_PORT`]),
  ...["ACCOUNT_URL", "CAMPAIGN_URL", "BROADCAST_URL", "DELIVERY_URL", "PUBLIC_URL", "TRUSTED_PROXIES"],
  ...["DATABASE_PREPARE", "DATABASE_CA", "DATABASE_CERT", "DATABASE_KEY", "ALLOW_UNSAFE_DATABASE"],
  ...["NATS_REPLICAS", "NATS_USER", "NATS_CA", "NATS_CERT", "NATS_KEY", "TELEGRAM_API_ROOT"],
  ...["RPC_TLS_CERT", "RPC_TLS_KEY", "RPC_TLS_CLIENT_CA", "RPC_TLS_CA", "RPC_TLS_CLIENT_CERT", "RPC_TLS_CLIENT_KEY"],
  ...["GATEWAY_TLS_CERT", "GATEWAY_TLS_KEY", "GATEWAY_TLS_CLIENT_CA"],
  ...["CONNECTION_LIMITS", "SESSION_CALLS_PER_SECOND", "ACCOUNT_CALLS_PER_SECOND", "ADDRESS_FAILURES_PER_MINUTE"],
  ...["TOKEN_CALLS_PER_SECOND", "ACCOUNT_QUEUED_MESSAGES", "ACCOUNT_CALLS_BESIDE_OTHERS"],
  ...["ACCOUNT_CALLS_AT_ONCE", "ACCOUNT_CALLS_WAITING", "ACCOUNT_UPLOADS_AT_ONCE", "UPLOADS_AT_ONCE"],
  ...["UPLOAD_BYTES_PER_SECOND"],
  ...["LEADCAST_DATA", "SANDBOX_HOST", "SANDBOX_PORT", "SANDBOX_CONTROL_PORT", "SANDBOX_STATE"],
]);

/** Other programs' names for the same thing. */
const aliases: Readonly<Record<string, string>> = {
  DATABASE_URI: "DATABASE_URL",
  DATABASE_DSN: "DATABASE_URL",
  DB_URL: "DATABASE_URL",
  POSTGRES_URL: "DATABASE_URL",
  POSTGRESQL_URL: "DATABASE_URL",
  PG_URL: "DATABASE_URL",
  NATS_SERVER: "NATS_URL",
  NATS_SERVERS: "NATS_URL",
  NATS_URI: "NATS_URL",
  NATS_USERNAME: "NATS_USER",
  NATS_PASS: "NATS_PASSWORD",
  NATS_SEED: "NATS_NKEY_SEED",
  NATS_NKEY: "NATS_NKEY_SEED",
  NATS_CREDENTIALS: "NATS_CREDS",
  NATS_TLS_CA: "NATS_CA",
  NATS_TLS_CERT: "NATS_CERT",
  NATS_TLS_KEY: "NATS_KEY",
  TELEGRAM_API_URL: "TELEGRAM_API_ROOT",
};

/** What Kubernetes sets by itself for a service that is called like one of ours. */
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_\w+)$|^NATS_PORT$/;

/** @returns one line for each variable that is set, that nothing reads, and that is close to an unset one of `read`. */
export function misspelt(read: readonly string[], env: Readonly<Record<string, string | undefined>>): string[] {
  const unset = read.filter((name) => !env[name] && !(secretNames.has(name) && env[`${name}_FILE`]));
  return Object.keys(env).flatMap((name) => {
    if (!env[name] || isKnown(name) || serviceLink.test(name)) return [];
    const meant = unset.find((candidate) => isMeant(name, candidate));
    return meant === undefined ? [] : [`${name}: is set, and nothing reads it; ${meant} may be meant`];
  });
}

function isKnown(name: string): boolean {
  return knownNames.has(name) || (name.endsWith("_FILE") && secretNames.has(name.slice(0, -"_FILE".length)));
}

function isMeant(given: string, candidate: string): boolean {
  if (aliases[given] === candidate) return true;
  // METRICS_PORT alone cannot say whose, when several processes share an environment.
  if (/^METRICS_(HOST|PORT)$/.test(given)) return candidate.endsWith(`_${given}`);
  const base = given.replace(/_FILE$/, "");
  return given.includes("_") && Math.min(distance(given, candidate), distance(base, candidate)) <= 2;
}

/** Edits of one letter that lead from one name to the other. */
export function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same));
    }
    row = next;
  }
  return row[b.length]!;
}
