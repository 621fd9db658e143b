/** Against a real Postgres that lets nobody in without TLS, nor one of its users without a certificate. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chownSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createDatabase } from "#services/core/database/client.ts";
import { prepareDatabase } from "#services/core/database/start.ts";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { ConfigError } from "#services/platform/config.ts";
import { createAuthority, type Issued, type TestAuthority } from "#test/support/certificates.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { throwAwaySettings } from "#test/support/postgres.ts";
import { runService } from "#test/support/service-process.ts";

let [authority, stranger]: TestAuthority[] = [];
let [client, foreign, renewed]: Issued[] = [];
let secure: EmbeddedPostgres;
let plain: EmbeddedPostgres;

/** `startPostgres` looks after its database in cleartext; everything else has to come by TLS. */
const rules = `host postgres leadcast all scram-sha-256
hostssl all certified all scram-sha-256 clientcert=verify-ca
hostssl all all all scram-sha-256
`;

beforeAll(async () => {
  [authority, stranger] = await Promise.all([createAuthority(), createAuthority("Stranger")]);
  const server = await authority!.issue({ name: "postgres", hosts: ["localhost", "127.0.0.1"] });
  client = await authority!.issue({ name: "certified" });
  foreign = await stranger!.issue({ name: "certified" });
  renewed = await authority!.issue({ name: "certified" });
  const folder = temporaryFolder("postgres-tls");
  const start = (name: string, settings: Record<string, string> = {}) =>
    startPostgres({
      dataDir: join(folder, name),
      logPath: join(folder, `${name}.log`),
      settings: { ...throwAwaySettings, ...settings },
    });
  const [first, other] = await Promise.all([start("secure"), start("plain")]);
  plain = other;
  const { sql, close } = createDatabase({ url: first.url });
  await sql.unsafe(`CREATE ROLE certified LOGIN SUPERUSER PASSWORD '${new URL(first.url).password}'`);
  await close();
  await first.stop();
  const cluster = join(folder, "secure", "cluster");
  const { uid, gid } = statSync(cluster);
  const files = {
    "server.crt": server.cert,
    "server.key": server.key,
    "root.crt": authority!.ca,
    "pg_hba.conf": rules,
  };
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(cluster, name), text, { mode: 0o600 });
    chownSync(join(cluster, name), uid, gid);
  }
  secure = await start("secure", { ssl: "on", ssl_ca_file: "root.crt", listen_addresses: "127.0.0.1,127.0.0.2" });
});
afterAll(() => Promise.all([secure?.stop(), plain?.stop()]));

function urlOf({ user = "leadcast", host = "127.0.0.1", server = secure, query = "" }): string {
  const { password, port } = new URL(server.url);
  return `postgres://${user}:${password}@${host}:${port}/leadcast?${query}`;
}

async function tlsOf(url: string): Promise<boolean> {
  const { sql, close } = createDatabase({ url });
  try {
    const [row] = await sql<{ ssl: boolean }[]>`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`;
    return row!.ssl;
  } finally {
    await close();
  }
}

async function refusalOf(url: string): Promise<string> {
  try {
    await prepareDatabase(url);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return "";
}

describe("a Postgres that demands TLS", () => {
  test.each([
    ["require", () => "sslmode=require"],
    ["require, negotiated directly", () => "sslmode=require&sslnegotiation=direct"],
    ["verify-ca", () => `sslmode=verify-ca&sslrootcert=${authority!.caPath}`],
    ["verify-full", () => `sslmode=verify-full&sslrootcert=${authority!.caPath}`],
    ["TLS 1.2 alone", () => "sslmode=require&ssl_max_protocol_version=TLSv1.2"],
    ["prefer", () => "sslmode=prefer"],
  ])("lets us in with %s", async (_, query) => {
    expect(await tlsOf(urlOf({ query: query() }))).toBe(true);
    expect(await tlsOf(urlOf({ host: "localhost", query: query() }))).toBe(true);
  });

  test("does not in cleartext, which is told with what to do", async () => {
    const told = await refusalOf(urlOf({ query: "sslmode=disable" }));
    expect(told).toStartWith("DATABASE_URL: Postgres refuses us: no pg_hba.conf entry");
    expect(told).toContain("sslmode=verify-full, or require");
  });

  test("lets a user who needs a certificate in with one, renewed or not", async () => {
    const own = join(temporaryFolder("renewal"), "client");
    const put = ({ cert, key }: Issued) => {
      writeFileSync(`${own}.crt`, cert);
      writeFileSync(`${own}.key`, key);
    };
    put(client!);
    const query = `sslmode=verify-full&sslrootcert=${authority!.caPath}&sslcert=${own}.crt&sslkey=${own}.key`;
    const { sql, close } = createDatabase({ url: urlOf({ user: "certified", query }) });
    const serialOf = async () => {
      const [row] = await sql<
        { serial: string }[]
      >`SELECT client_serial::text AS serial FROM pg_stat_ssl WHERE pid = pg_backend_pid()`;
      return row!.serial;
    };
    const before = await serialOf();
    put(renewed!);
    await sql`SELECT pg_terminate_backend(pg_backend_pid())`.catch(() => {});
    expect(await serialOf()).not.toBe(before);
    await close();
  });

  test.each([
    ["no certificate", () => "", /Postgres refuses us: connection requires a valid client certificate/],
    [
      "a stranger's",
      () => `&sslcert=${foreign!.certPath}&sslkey=${foreign!.keyPath}`,
      /^DATABASE_URL: (Postgres refuses us|TLS to Postgres fails)/,
    ],
  ])("does not let that user in with %s", async (_, query, why) => {
    const ca = `sslmode=verify-full&sslrootcert=${authority!.caPath}`;
    expect(await refusalOf(urlOf({ user: "certified", query: `${ca}${query()}` }))).toMatch(why);
  });
});

describe("what we do not trust", () => {
  test.each([
    [
      "another authority's server",
      () => urlOf({ query: `sslmode=verify-ca&sslrootcert=${stranger!.caPath}` }),
      /TLS to Postgres fails: .*certificate/,
    ],
    [
      "a server that the system's authorities do not know",
      () => urlOf({ query: "sslmode=verify-full" }),
      /TLS to Postgres fails: .*certificate/,
    ],
    [
      "a server with another name",
      () => urlOf({ host: "127.0.0.2", query: `sslmode=verify-full&sslrootcert=${authority!.caPath}` }),
      /TLS to Postgres fails: .*127\.0\.0\.2/,
    ],
    ["a server that offers no TLS", () => urlOf({ server: plain, query: "sslmode=require" }), /offers no TLS/],
    [
      "one that offers none where it is begun directly",
      () => urlOf({ server: plain, query: "sslmode=require&sslnegotiation=direct" }),
      /offers no TLS/,
    ],
  ])("%s is told at the start", async (_, url, why) => {
    const told = await refusalOf(url());
    expect(told).toMatch(why);
    expect(told).toStartWith("DATABASE_URL: ");
  });

  test("a server's name does not matter to verify-ca", async () => {
    const query = `sslmode=verify-ca&sslrootcert=${authority!.caPath}`;
    expect(await tlsOf(urlOf({ host: "127.0.0.2", query }))).toBe(true);
  });

  test("cleartext is fine for prefer where a server offers no better", async () => {
    expect(await tlsOf(urlOf({ server: plain, query: "sslmode=prefer" }))).toBe(false);
  });
});

describe("a process", () => {
  test("ends with 78 and the variable's name where Postgres does not let it in, and shows no secret", async () => {
    const { password } = new URL(secure.url);
    const wrongPassword = urlOf({ query: "sslmode=require" }).replace(password, "not-the-password");
    const { exitCode, stderr } = await runService("services/account/main.ts", {
      DATABASE_URL: wrongPassword,
      RPC_TOKENS: JSON.stringify([{ name: "billing", secret: "billing-secret-0001", allow: ["*"] }]),
    });
    expect(stderr).toContain("DATABASE_URL: Postgres refuses us: password authentication failed");
    expect(stderr).not.toContain("not-the-password");
    expect(exitCode).toBe(78);
  });

  test("finds the one of several hosts that takes writes", async () => {
    const { password, port } = new URL(plain.url);
    const admin = createDatabase({ url: secure.url.replace(/\/leadcast$/, "/postgres") });
    await admin.sql.unsafe(`ALTER ROLE leadcast PASSWORD '${password}'`);
    await admin.sql.unsafe("ALTER DATABASE leadcast SET default_transaction_read_only = on");
    await admin.close();
    const standby = `127.0.0.1:${secure.port}`;
    for (const hosts of [`${standby},127.0.0.1:${port}`, `127.0.0.1:1,127.0.0.1:${port},${standby}`]) {
      const { sql, close } = createDatabase({
        url: `postgres://leadcast:${password}@${hosts}/leadcast?sslmode=prefer`,
      });
      const [row] = await sql<{ port: string }[]>`SELECT current_setting('port') AS port`;
      expect(row!.port).toBe(port);
      await close();
    }
  });
});
