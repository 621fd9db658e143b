/** Against a real `nats-server` that demands each way of logging in. */
import { beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { createAccount, createOperator, createUser, type KeyPair } from "nkeys.js";
import { connectQueue, drainWhenLost } from "#services/core/queue/connection.ts";
import { natsVariables, queueAccessOf, wrongWithQueue } from "#services/core/queue/variables.ts";
import { findNatsServer } from "#services/local/embedded/nats-server.ts";
import { freePort } from "#services/local/embedded/ports.ts";
import { startServerProcess } from "#services/local/embedded/server-process.ts";
import { ConfigError, readConfig } from "#services/platform/config.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { createAuthority, type Issued, type TestAuthority } from "#test/support/certificates.ts";
import { eventually } from "#test/support/eventually.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { runService } from "#test/support/service-process.ts";

const binary = findNatsServer(resolve(import.meta.dirname, "../../..", process.env.LEADCAST_DATA || ".data", "tools"));
const folder = temporaryFolder("nats-credentials");
const schema = Type.Object(natsVariables);
let made = 0;

function write(name: string, text: string): string {
  const path = join(folder, `${++made}-${name}`);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** A server with these rules; it ends with the block. */
async function startServer(rules: string) {
  const port = await freePort();
  const logPath = join(folder, `${port}.log`);
  const config = write("nats.conf", `listen: "127.0.0.1:${port}"\n${rules}\n`);
  const server = startServerProcess([binary, "-c", config], { logPath, orphanSignal: "SIGKILL" });
  await eventually(async () => (await Bun.file(logPath).text()).includes("Server is ready"));
  const setRules = (changed: string) => {
    writeFileSync(config, `listen: "127.0.0.1:${port}"\n${changed}\n`);
    process.kill(server.pid, "SIGHUP");
  };
  return { port, setRules, [Symbol.asyncDispose]: () => server.stop("SIGKILL", 0) };
}

function configOf(env: Record<string, string>) {
  return readConfig(schema, env, wrongWithQueue);
}

/** Connects as a process does. @returns "in", or what it is told. */
async function attempt(env: Record<string, string>): Promise<string> {
  try {
    const config = configOf(env);
    const connection = await connectQueue({ url: config.NATS_URL, name: "test", access: queueAccessOf(config) });
    await connection.flush();
    await connection.close();
    return "in";
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const seedOf = (pair: KeyPair) => text(pair.getSeed());
const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** NATS' own kind of token: signed by the key that is named as its issuer. */
function jwt(issuer: KeyPair, subject: string, nats: object): string {
  const claims = { jti: subject, iat: 1_700_000_000, iss: issuer.getPublicKey(), name: "test", sub: subject, nats };
  const signed = `${base64url({ typ: "JWT", alg: "ed25519-nkey" })}.${base64url(claims)}`;
  return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString("base64url")}`;
}

function credentials(account: KeyPair): string {
  const user = createUser();
  const token = jwt(account, user.getPublicKey(), { type: "user", version: 2, subs: -1, data: -1, payload: -1 });
  return `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n
-----BEGIN USER NKEY SEED-----\n${seedOf(user)}\n------END USER NKEY SEED------\n`;
}

const refused = /^NATS_URL: NATS refuses the user, password, token or key/;

describe("a nats-server that demands", () => {
  test("user and password gets them from the variables or the URL, and tells of wrong ones", async () => {
    await using server = await startServer(`authorization { user: leadcast, password: "p w/1" }`);
    const at = `127.0.0.1:${server.port}`;
    const NATS_URL = `nats://${at}`;
    expect(await attempt({ NATS_URL, NATS_USER: "leadcast", NATS_PASSWORD: "p w/1" })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_USER: "leadcast", NATS_PASSWORD_FILE: write("password", "p w/1\n") })).toBe(
      "in",
    );
    expect(await attempt({ NATS_URL: `nats://leadcast:p%20w%2F1@${at}/` })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_USER: "leadcast", NATS_PASSWORD: "other" })).toMatch(refused);
    expect(await attempt({ NATS_URL })).toMatch(refused);
  });

  test("a token gets it from the variable or the URL", async () => {
    await using server = await startServer(`authorization { token: "a-token-of-the-tests" }`);
    const NATS_URL = `nats://127.0.0.1:${server.port}`;
    expect(await attempt({ NATS_URL, NATS_TOKEN: "a-token-of-the-tests" })).toBe("in");
    expect(await attempt({ NATS_URL: NATS_URL.replace("//", "//a-token-of-the-tests@") })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_TOKEN: "another" })).toMatch(refused);
  });

  test("an NKEY gets its signature", async () => {
    const user = createUser();
    await using server = await startServer(`authorization { users: [{ nkey: ${user.getPublicKey()} }] }`);
    const NATS_URL = `nats://127.0.0.1:${server.port}`;
    expect(await attempt({ NATS_URL, NATS_NKEY_SEED: seedOf(user) })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_NKEY_SEED_FILE: write("seed", `${seedOf(user)}\n`) })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_NKEY_SEED: seedOf(createUser()) })).toMatch(refused);
  });

  test("credentials gets those of the file, which is read again for each connection", async () => {
    const [operator, account] = [createOperator(), createAccount()];
    const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
    const accountJwt = jwt(operator, account.getPublicKey(), { type: "account", version: 2, limits });
    const operatorJwt = jwt(operator, operator.getPublicKey(), { type: "operator", version: 2 });
    await using server = await startServer(`operator: ${write("operator.jwt", operatorJwt)}
      resolver: MEMORY
      resolver_preload: { ${account.getPublicKey()}: ${accountJwt} }`);
    const NATS_URL = `nats://127.0.0.1:${server.port}`;
    const path = write("user.creds", credentials(account));
    expect(await attempt({ NATS_URL, NATS_CREDS: path })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_CREDS_FILE: path })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_CREDS: credentials(account) })).toBe("in");
    expect(await attempt({ NATS_URL, NATS_CREDS: write("stranger.creds", credentials(createAccount())) })).toMatch(
      refused,
    );

    const config = configOf({ NATS_URL, NATS_CREDS: path });
    const connection = await connectQueue({ url: config.NATS_URL, name: "test", access: queueAccessOf(config) });
    writeFileSync(path, credentials(account));
    await connection.reconnect();
    await eventually(async () => (await connection.rtt()) >= 0);
    await connection.close();
  });
});

describe("drainWhenLost", () => {
  test("drains a process that a running server lets in no more, and not one that closes by itself", async () => {
    const rules = (password: string) => `authorization { user: leadcast, password: "${password}" }`;
    await using server = await startServer(rules("before"));
    const config = configOf({ NATS_URL: `127.0.0.1:${server.port}`, NATS_USER: "leadcast", NATS_PASSWORD: "before" });
    const open = () => connectQueue({ url: config.NATS_URL, name: "test", access: queueAccessOf(config) });
    const [kept, closed] = [await open(), await open()];
    const captured = captureLog();
    const drained: string[] = [];
    drainWhenLost(kept, captured.log, () => drained.push("kept"));
    drainWhenLost(closed, captured.log, () => drained.push("closed"));
    await closed.close();
    server.setRules(rules("after"));
    await eventually(() => drained.length > 0);
    expect(drained).toEqual(["kept"]);
    expect(captured.text()).toContain("NATS lets us in no more");
    expect(captured.text()).not.toContain("before");
  });
});

describe("a nats-server with TLS", () => {
  let [authority, stranger]: TestAuthority[] = [];
  let [server, client, foreign, expired, elsewhere]: Issued[] = [];
  beforeAll(async () => {
    [authority, stranger] = await Promise.all([createAuthority(), createAuthority("Stranger")]);
    server = await authority!.issue({ name: "nats" });
    client = await authority!.issue({ name: "client" });
    foreign = await stranger!.issue({ name: "foreign" });
    expired = await authority!.issue({ name: "expired", expired: true });
    elsewhere = await authority!.issue({ name: "elsewhere", hosts: ["nats.example"] });
  });
  const rules = (pair: Issued, verify = false) =>
    `tls { cert_file: "${pair.certPath}", key_file: "${pair.keyPath}"${verify ? `, ca_file: "${authority!.caPath}", verify: true` : ""} }`;

  test("and certificates of its clients lets us in with one that it accepts, and tells what it wants", async () => {
    await using nats = await startServer(rules(server!, true));
    const NATS_CA = authority!.caPath;
    for (const host of ["127.0.0.1", "localhost"]) {
      const NATS_URL = `tls://${host}:${nats.port}`;
      const files = { NATS_CA, NATS_CERT: client!.certPath, NATS_KEY: client!.keyPath };
      expect(await attempt({ NATS_URL, ...files })).toBe("in");
    }
    const NATS_URL = `tls://localhost:${nats.port}`;
    const wanted = /^NATS_CERT: NATS wants a client certificate, and was given none that it accepts/;
    const strange = { NATS_CA, NATS_CERT: foreign!.certPath, NATS_KEY: foreign!.keyPath };
    const told = await Promise.all([attempt({ NATS_URL, NATS_CA }), attempt({ NATS_URL, ...strange })]);
    for (const one of told) expect(one).toMatch(wanted);
  });

  test.each([
    ["of another authority", () => server!, () => stranger!.caPath, /certificate/],
    ["that the system's authorities do not know", () => server!, () => "", /certificate/],
    ["that has expired", () => expired!, () => authority!.caPath, /expired/],
    ["for another name", () => elsewhere!, () => authority!.caPath, /nats\.example/],
  ])("is not trusted with a certificate %s", async (_, pair, ca, why) => {
    await using nats = await startServer(rules(pair()));
    const told = await attempt({ NATS_URL: `tls://localhost:${nats.port}`, NATS_CA: ca() });
    expect(told).toStartWith("NATS_CA: TLS to NATS fails: ");
    expect(told).toMatch(why);
  });

  test("is demanded by tls:// and NATS_CA: nobody in between can talk us out of it", async () => {
    await using nats = await startServer("");
    const told = /TLS is asked for .* and the server offers none/;
    expect(await attempt({ NATS_URL: `tls://127.0.0.1:${nats.port}` })).toMatch(told);
    expect(await attempt({ NATS_URL: `127.0.0.1:${nats.port}`, NATS_CA: authority!.caPath })).toMatch(told);
    expect(await attempt({ NATS_URL: `127.0.0.1:${nats.port}` })).toBe("in");
  });
});

describe("NATS' variables", () => {
  const problems = (env: Record<string, string>) => {
    try {
      configOf(env);
      return "";
    } catch (error) {
      return (error as ConfigError).problems.join("\n");
    }
  };
  const NATS_URL = "nats://127.0.0.1:4222";

  test.each([
    ["nats://a:4222,nats://b:4223/"],
    ["a,b:1"],
    ["[::1]:4222"],
    ["tls://[2001:db8::1]"],
    ["nats://u:p@a,nats://u:p@b"],
  ])("take %s", (url) => expect(problems({ NATS_URL: url })).toBe(""));

  test.each([
    ["http://a", "another scheme"],
    ["nats://a:port", "port that is not a number"],
    ["nats://a:0", "port that is not a number"],
    ["nats://a/path", "mean nothing here"],
    ["nats://a?tls=1", "mean nothing here"],
    ["nats://u:hunter2@a,nats://v:hunter2@b", "different users"],
    ["nats://u:hun%ter2@a", "written %25"],
    ["nats://2001:db8::1", "port that is not a number"],
    ["a,,b", "neither a name nor an address"],
  ])("refuse %s", (url, why) => {
    expect(problems({ NATS_URL: url })).toContain(why);
    expect(problems({ NATS_URL: url })).not.toContain("hunter2");
  });

  test.each([
    [{ NATS_USER: "u" }, "NATS_USER: needs NATS_PASSWORD"],
    [{ NATS_PASSWORD: "p" }, "NATS_PASSWORD: needs NATS_USER"],
    [{ NATS_USER: "u", NATS_PASSWORD: "p", NATS_TOKEN: "t" }, "NATS_TOKEN: is one login, and NATS_USER is another"],
    [{ NATS_NKEY_SEED: "SUnotaseed" }, "NATS_NKEY_SEED: the value is not one"],
    [{ NATS_CREDS: "/nowhere" }, "NATS_CREDS: it names a file that is not there"],
    [{ NATS_CA: "/nowhere" }, "NATS_CA: the file is not there"],
    [{ NATS_CERT: "/nowhere" }, "NATS_CERT: NATS_CERT and NATS_KEY need each other"],
  ])("tell what is wrong with %j", (env, why) => {
    expect(problems({ NATS_URL, ...(env as Record<string, string>) })).toStartWith(why);
  });
});

describe("a process", () => {
  test("ends with 78 where NATS refuses it", async () => {
    await using server = await startServer(`authorization { token: "a-token-of-the-tests" }`);

    const database = await createTestDatabase();
    const { exitCode, stderr } = await runService("services/broadcast/main.ts", {
      DATABASE_URL: database.url,
      NATS_URL: `nats://not-that-token@127.0.0.1:${server.port}`,
      RPC_TOKENS: JSON.stringify([{ name: "broadcast", secret: "broadcast-secret-0001", allow: [] }]),
    });
    expect(stderr).toMatch(/NATS_URL: NATS refuses/);
    expect(stderr).not.toContain("not-that-token");
    expect(exitCode).toBe(78);
    await database.drop();
  });
});
