/** The variables by which a process finds NATS, and says who it is. */
import { type Static, type TUnsafe, Type } from "@sinclair/typebox";
import { fromSeed } from "nkeys.js";
import { parsedVar } from "#services/platform/config.ts";
import { readAuthorities, readKeyPair } from "#services/platform/pem.ts";
import { readSmallFile } from "#services/platform/secret-file.ts";
import { secretVar } from "#services/platform/variables.ts";
import { parseQueueUrl, type QueueLogin } from "./servers.ts";

export const natsUrlVar: TUnsafe<string> = parsedVar<string>(
  "nats://host:4222 or tls://host:4222, or several with commas between them",
  (text) => {
    const servers = parseQueueUrl(text);
    return "wrong" in servers ? { wrong: servers.wrong.join("; ") } : { value: text.trim() };
  },
  { secret: true },
);

const nkeySeedVar = parsedVar<string>(
  "an NKEY seed of a user, which begins with SU",
  (text) => (isUserSeed(text.trim()) ? { value: text.trim() } : { wrong: "the value is not one" }),
  { secret: true },
);

function isUserSeed(seed: string): boolean {
  try {
    fromSeed(new TextEncoder().encode(seed));
    return seed.startsWith("SU");
  } catch {
    return false;
  }
}

/** NATS_CREDS: a credentials file's path, or what stands in one. */
const credsVar = parsedVar<string>(
  "the path of a credentials file, or what stands in one",
  (text) => {
    const content = isCreds(text) ? { value: text } : readSmallFile(text, maxCredsBytes);
    if ("wrong" in content) return { wrong: `it names a file that ${content.wrong}` };
    return isCreds(content.value) ? { value: text } : { wrong: "it names a file without a NATS user's JWT and seed" };
  },
  { secret: true },
);

const maxCredsBytes = 64 * 1024;

function isCreds(text: string): boolean {
  return /-----BEGIN NATS USER JWT-----/.test(text) && /-----BEGIN USER NKEY SEED-----/.test(text);
}

export const natsVariables = {
  NATS_URL: natsUrlVar,
  NATS_REPLICAS: Type.Integer({ minimum: 1, maximum: 5, default: 1 }),
  NATS_USER: Type.Optional(Type.String()),
  NATS_PASSWORD: Type.Optional(secretVar),
  NATS_TOKEN: Type.Optional(secretVar),
  NATS_NKEY_SEED: Type.Optional(nkeySeedVar),
  NATS_CREDS: Type.Optional(credsVar),
  /** Files: authorities of the servers' certificates; the certificate that is shown to them, and its key. */
  NATS_CA: Type.Optional(Type.String()),
  NATS_CERT: Type.Optional(Type.String()),
  NATS_KEY: Type.Optional(Type.String()),
};

const schema = Type.Object(natsVariables);
type Given = { [K in keyof Static<typeof schema>]?: Static<typeof schema>[K] | undefined };

/** How a connection to NATS is made. */
export interface QueueAccess {
  readonly login: QueueLogin;
  /** Undefined: TLS where the servers demand it, with the system's authorities. */
  readonly tls: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string } | undefined;
}

export function queueAccessOf(given: Given): QueueAccess {
  const { NATS_CA: caFile, NATS_CERT: certFile, NATS_KEY: keyFile } = given;
  const files = {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
  };
  return {
    login: loginsOf(given)[0]?.login ?? { kind: "none" },
    tls: Object.keys(files).length > 0 ? files : undefined,
  };
}

/** Every login that is given, with the variable that gives it. */
function loginsOf(given: Given): { from: string; login: QueueLogin }[] {
  const { NATS_URL, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_NKEY_SEED, NATS_CREDS } = given;
  const found: { from: string; login: QueueLogin }[] = [];
  const url = NATS_URL === undefined ? undefined : parseQueueUrl(NATS_URL);
  if (url !== undefined && !("wrong" in url) && url.login.kind !== "none")
    found.push({ from: "NATS_URL", login: url.login });
  if (NATS_USER !== undefined) {
    found.push({ from: "NATS_USER", login: { kind: "password", user: NATS_USER, password: NATS_PASSWORD ?? "" } });
  }
  if (NATS_TOKEN !== undefined) found.push({ from: "NATS_TOKEN", login: { kind: "token", token: NATS_TOKEN } });
  if (NATS_NKEY_SEED !== undefined)
    found.push({ from: "NATS_NKEY_SEED", login: { kind: "nkey", seed: NATS_NKEY_SEED } });
  if (NATS_CREDS !== undefined) {
    const login = isCreds(NATS_CREDS) ? { text: NATS_CREDS } : { path: NATS_CREDS };
    found.push({ from: "NATS_CREDS", login: { kind: "creds", ...login } });
  }
  return found;
}

/** For `readConfig`: what the variables have to do with each other, and with their files. */
export function wrongWithQueue(given: Given, refused: ReadonlySet<string>): string[] {
  const { NATS_USER, NATS_PASSWORD, NATS_CA, NATS_CERT, NATS_KEY } = given;
  const wrong: string[] = [];
  const from = loginsOf(given).map((login) => login.from);
  if (from.length > 1) wrong.push(`${from[1]}: is one login, and ${from[0]} is another; a connection has one`);
  if (NATS_PASSWORD !== undefined && NATS_USER === undefined) wrong.push("NATS_PASSWORD: needs NATS_USER");
  if (NATS_USER !== undefined && NATS_PASSWORD === undefined && !refused.has("NATS_PASSWORD"))
    wrong.push("NATS_USER: needs NATS_PASSWORD");
  if ((NATS_CERT === undefined) !== (NATS_KEY === undefined))
    wrong.push("NATS_CERT: NATS_CERT and NATS_KEY need each other");
  if (NATS_CA !== undefined) {
    const ca = readAuthorities(NATS_CA);
    if ("wrong" in ca) wrong.push(`NATS_CA: the file ${ca.wrong}`);
  }
  if (NATS_CERT !== undefined && NATS_KEY !== undefined) {
    const pair = readKeyPair(NATS_CERT, NATS_KEY);
    if ("wrong" in pair) wrong.push(`NATS_${pair.of.toUpperCase()}: the file ${pair.wrong}`);
  }
  return wrong;
}
