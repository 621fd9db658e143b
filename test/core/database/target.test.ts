import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { driverOptions } from "#services/core/database/driver-options.ts";
import { parseDatabaseUrl } from "#services/core/database/target.ts";
import { sslModeOf } from "#services/core/database/tls.ts";
import { databaseUrlOf, databaseVariables, wrongWithDatabase } from "#services/core/database/variables.ts";
import { ConfigError, readConfig } from "#services/platform/config.ts";
import { createAuthority } from "#test/support/certificates.ts";
import { temporaryFolder } from "#test/support/folder.ts";

function target(url: string) {
  const parsed = parseDatabaseUrl(url);
  if ("wrong" in parsed) throw new Error(parsed.wrong.join("; "));
  return parsed;
}

function wrong(url: string): string {
  const parsed = parseDatabaseUrl(url);
  return "wrong" in parsed ? parsed.wrong.join("; ") : "";
}

const defaults = { applicationName: "leadcast", connectTimeoutSeconds: 5, prepare: true, maxConnections: 10 };

describe("a DATABASE_URL's places", () => {
  test.each([
    ["postgres://u:p@h/d", [{ host: "h", port: 5432 }]],
    ["postgresql://u:p@10.0.0.1:5433/d", [{ host: "10.0.0.1", port: 5433 }]],
    ["postgres://u:p@[::1]:5433/d", [{ host: "::1", port: 5433 }]],
    ["postgres://u:p@[2001:db8::7]/d", [{ host: "2001:db8::7", port: 5432 }]],
    [
      "postgres://u:p@a:1,b,[::1]:3/d",
      [
        { host: "a", port: 1 },
        { host: "b", port: 5432 },
        { host: "::1", port: 3 },
      ],
    ],
    ["postgres://u@%2Fvar%2Frun%2Fpostgresql/d", [{ host: "/var/run/postgresql", port: 5432 }]],
    ["postgres://u@/d?host=/var/run/postgresql&port=5433", [{ host: "/var/run/postgresql", port: 5433 }]],
    [
      "postgres:///d?host=a,b&port=1,2&user=u",
      [
        { host: "a", port: 1 },
        { host: "b", port: 2 },
      ],
    ],
  ])("%s", (url, hosts) => expect(target(url).hosts).toEqual(hosts));

  test.each([
    ["mysql://u:p@h/d", "another scheme"],
    ["postgres:///d", "names no host"],
    ["postgres://u:p@h:port/d", "port that is not a number"],
    ["postgres://u:p@h:0/d", "port that is not a number"],
    ["postgres://u:p@h:70000/d", "port that is not a number"],
    ["postgres://u:pa/ss@h/d", "in a password, / is written %2F"],
    ["postgres://u:pa#ss@h/d", "in a password it is written %23"],
    ["postgres://u:p%zz@h/d", "% that begins no two hex digits"],
    ["postgres://u:p@2001:db8::7/d", "port that is not a number"],
    ["postgres://u:p@h one/d", "neither a name nor an address"],
    ["postgres://u:p@%2Ftmp,h/d", "mixes a socket's folder"],
  ])("%s is told to be wrong", (url, why) => expect(wrong(url)).toContain(why));

  test("decode what is percent-encoded, and keep an @ in a password", () => {
    expect(target("postgres://us%40er:p%2Fa%23s%3As%20w@h/d%20b")).toMatchObject({
      user: "us@er",
      password: "p/a#s:s w",
      database: "d b",
    });
    expect(target("postgres://u:p@ss@h/d")).toMatchObject({ password: "p@ss", hosts: [{ host: "h" }] });
    expect(target("postgres://u:p@h")).toMatchObject({ database: "u" });
  });
});

describe("a DATABASE_URL's parameters", () => {
  const at = (query: string) => `postgres://u:p@db.example/d?${query}`;

  test.each([
    "sslmode=require",
    "sslmode=disable&gssencmode=prefer&channel_binding=prefer&target_session_attrs=read-write",
    "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=10000",
    "connect_timeout=10&application_name=me&fallback_application_name=x&options=-c%20work_mem%3D8MB",
    "schema=public&pgbouncer=true&connection_limit=20&pool_timeout=10&statement_cache_size=0&socket_timeout=3",
    "sslmode=&client_encoding=UTF8&krbsrvname=postgres&sslsni=1&load_balance_hosts=disable&uselibpqcompat=true",
    "ssl=true&sslaccept=strict&ssl_min_protocol_version=TLSv1.2&sslnegotiation=direct",
  ])("%s is understood", (query) => expect(wrong(at(query))).toBe(""));

  test.each([
    ["channel_binding=require", "channel_binding"],
    ["gssencmode=require", "gssencmode"],
    ["schema=other", "schema"],
    ["target_session_attrs=standby", "target_session_attrs"],
    ["sslmode=strict", "sslmode"],
    ["sslmode=require&sslmode=disable", "twice"],
    ["sslcrl=/x", "sslcrl"],
    ["require_auth=scram-sha-256", "require_auth"],
    ["passfile=/x", "passfile"],
    ["service=x", "service"],
    ["hostaddr=1.2.3.4", "hostaddr"],
    ["replication=database", "replication"],
    ["load_balance_hosts=random", "load_balance_hosts"],
    ["connection_limit=3", "connection_limit"],
    ["connect_timeout=soon", "connect_timeout"],
    ["keepalives=yes", "keepalives"],
    ["pgbouncer=1", "pgbouncer"],
    ["client_encoding=LATIN1", "client_encoding"],
    ["statement_timeout=5s", "options=-c%20name%3Dvalue"],
    ["search_path=x", "options=-c%20name%3Dvalue"],
    ["ssl_mode=require", "sslmode may be meant"],
    ["application_nam=x", "application_name may be meant"],
    ["workaround=supabase-pooler.bouncer", "workaround is unknown to Leadcast"],
    ["__proto__=x", "unreadable name"],
    ["toString=x", "toString"],
    ["sslcompression=1", "sslcompression"],
    ["%zz=1", "% that begins no two hex digits"],
  ])("%s is named", (query, why) => expect(wrong(at(query))).toContain(why));

  test("are told all together, and without their values", () => {
    const told = wrong(at("channel_binding=require&schema=hunter2&nonsense=hunter2"));
    for (const name of ["channel_binding", "schema", "nonsense"]) expect(told).toContain(name);
    expect(told).not.toContain("hunter2");
  });

  test("come to what the driver understands, and to nothing that it would pass on to Postgres", () => {
    const url = at(
      "application_name=me&connect_timeout=1&keepalives_idle=7&pgbouncer=true&connection_limit=15&options=-c%20x%3D1",
    );
    expect(driverOptions(url, defaults)).toMatchObject({
      connect_timeout: 2,
      keep_alive: 7,
      prepare: false,
      max: 7,
      connection: { application_name: "me", options: "-c x=1" },
    });
    expect(driverOptions("postgres://u:p@127.0.0.1/d?pgbouncer=false&schema=public", defaults)).toMatchObject({
      ssl: false,
      prepare: true,
      max: 10,
      connection: { application_name: "leadcast" },
    });
  });
});

describe("sslmode", () => {
  test.each([
    ["postgres://u:p@127.0.0.1/d", "disable"],
    ["postgres://u:p@localhost/d", "disable"],
    ["postgres://u:p@[::1]/d", "disable"],
    ["postgres://u:p@db.example/d", "prefer"],
    ["postgres://u:p@127.0.0.1,db.example/d", "prefer"],
    ["postgres://u:p@db/d?sslmode=require", "require"],
    ["postgres://u:p@db/d?sslmode=require&sslrootcert=/ca", "verify-ca"],
    ["postgres://u:p@127.0.0.1/d?sslrootcert=/ca", "verify-full"],
    ["postgres://u:p@db/d?sslrootcert=system", "verify-full"],
    ["postgres://u:p@db/d?sslcert=/c&sslkey=/k", "require"],
    ["postgres://u:p@db/d?ssl=true&sslmode=verify-full", "verify-full"],
    ["postgres://u:p@db/d?sslmode=verify-full&ssl=true", "verify-full"],
    ["postgres://u:p@db/d?sslmode=require&sslaccept=strict", "verify-full"],
    ["postgres://u@%2Ftmp/d?sslmode=verify-full", "disable"],
  ])("of %s is %s", (url, mode) => expect(sslModeOf(target(url))).toBe(mode as never));
});

describe("the database's variables", () => {
  const schema = Type.Object(databaseVariables);
  const problems = (env: Record<string, string>) => {
    try {
      readConfig(schema, env, wrongWithDatabase);
      return [];
    } catch (error) {
      return error instanceof ConfigError ? [...error.problems] : [String(error)];
    }
  };

  test("put their files into the URL", () => {
    const url = databaseUrlOf({ DATABASE_URL: "postgres://u:p@h/d?sslmode=verify-ca", DATABASE_CA: "/a b/ca.pem" });
    expect(url).toBe("postgres://u:p@h/d?sslmode=verify-ca&sslrootcert=%2Fa%20b%2Fca.pem");
  });

  test("are told with what is wrong with their files", async () => {
    const authority = await createAuthority();
    const [pair, other] = await Promise.all([authority.issue({ name: "a" }), authority.issue({ name: "b" })]);
    const old = await authority.issue({ name: "old", expired: true });
    const folder = temporaryFolder("database-files");
    const noPem = join(folder, "no.pem");
    writeFileSync(noPem, "nothing");
    const DATABASE_URL = "postgres://u:hunter2@127.0.0.1/d";
    const cases: [Record<string, string>, string][] = [
      [{ DATABASE_CA: "/nowhere" }, "is not there"],
      [{ DATABASE_CA: noPem }, "no certificate in PEM form"],
      [{ DATABASE_CERT: pair.certPath }, "need each other"],
      [{ DATABASE_CERT: pair.certPath, DATABASE_KEY: other.keyPath }, "does not belong to the certificate"],
      [{ DATABASE_CERT: old.certPath, DATABASE_KEY: old.keyPath }, "expired on"],
      [{ DATABASE_CERT: pair.certPath, DATABASE_KEY: pair.certPath }, "no private key in PEM form"],
    ];
    for (const [files, why] of cases) {
      const told = problems({ DATABASE_URL, ...files }).join("\n");
      expect(told).toStartWith("DATABASE_URL: ");
      expect(told).toContain(why);
      expect(told).not.toContain("hunter2");
    }
    expect(
      problems({
        DATABASE_URL,
        DATABASE_CA: authority.caPath,
        DATABASE_CERT: pair.certPath,
        DATABASE_KEY: pair.keyPath,
      }),
    ).toEqual([]);
    expect(problems({ DATABASE_URL: `${DATABASE_URL}?sslmode=verify-ca` })).toEqual([
      "DATABASE_URL: sslmode=verify-ca needs sslrootcert or DATABASE_CA",
    ]);
    expect(problems({ DATABASE_URL: `${DATABASE_URL}?sslmode=require&sslrootcert=system` })[0]).toContain(
      "needs sslmode=verify-full",
    );
  });
});
