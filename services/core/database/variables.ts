/** The variables by which a process finds its database. */
import { type TUnsafe, Type } from "@sinclair/typebox";
import { parsedVar } from "#services/platform/config.ts";
import { parseDatabaseUrl } from "./target.ts";
import { wrongWithTls } from "./tls.ts";

export const databaseUrlVar: TUnsafe<string> = parsedVar<string>(
  "a URL like postgres://user:password@host:5432/database",
  (text) => {
    const target = parseDatabaseUrl(text);
    return "wrong" in target ? { wrong: target.wrong.join("; ") } : { value: text.trim() };
  },
  { secret: true },
);

export const databaseVariables = {
  DATABASE_URL: databaseUrlVar,
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  DATABASE_PREPARE: Type.Boolean({ default: true }),
  /** Files: authorities of the server's certificate; the certificate that is shown to it, and its key. */
  DATABASE_CA: Type.Optional(Type.String()),
  DATABASE_CERT: Type.Optional(Type.String()),
  DATABASE_KEY: Type.Optional(Type.String()),
};

interface Given {
  DATABASE_URL?: string | undefined;
  DATABASE_CA?: string | undefined;
  DATABASE_CERT?: string | undefined;
  DATABASE_KEY?: string | undefined;
}

const parameterOf = { DATABASE_CA: "sslrootcert", DATABASE_CERT: "sslcert", DATABASE_KEY: "sslkey" } as const;

/** The URL with the files in it, which is all that the rest of a process needs. */
export function databaseUrlOf(given: Given & { DATABASE_URL: string }): string {
  const names = Object.keys(parameterOf) as (keyof typeof parameterOf)[];
  const added = names.flatMap((name) => {
    const path = given[name];
    return path === undefined ? [] : [`${parameterOf[name]}=${encodeURIComponent(path)}`];
  });
  if (added.length === 0) return given.DATABASE_URL;
  return `${given.DATABASE_URL}${given.DATABASE_URL.includes("?") ? "&" : "?"}${added.join("&")}`;
}

/** For `readConfig`: what the variables have to do with each other, and with their files. */
export function wrongWithDatabase(given: Given): string[] {
  const { DATABASE_URL } = given;
  if (DATABASE_URL === undefined) return [];
  const target = parseDatabaseUrl(databaseUrlOf({ ...given, DATABASE_URL }));
  const wrong = "wrong" in target ? target.wrong : wrongWithTls(target);
  return wrong.map((one) => `DATABASE_URL: ${one}`);
}
