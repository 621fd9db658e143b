/** CONTRIBUTING.md says which folder writes which table; the statements themselves are asked. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getTableName, is, Table } from "drizzle-orm";
import * as schema from "#services/core/database/schema/index.ts";
import { readDocument, tableRows } from "./markdown.ts";

const services = join(import.meta.dirname, "../../services");

/** By table, the folders below `services/` with a statement that writes it. */
function writers(): Map<string, Set<string>> {
  const tables = new Map(Object.entries(schema).flatMap(([key, table]) => tableOf(key, table)));
  const found = new Map([...tables.values()].map((name) => [name, new Set<string>()]));
  for (const file of new Bun.Glob("{account,campaign,broadcast,relay,delivery,core}/**/*.ts").scanSync(services)) {
    const text = readFileSync(join(services, file), "utf8");
    const named = [...text.matchAll(/(?:INSERT INTO|UPDATE|DELETE FROM)\s+([a-z_]+)/g)].map((match) => match[1]!);
    const builds = text.includes("#services/core/database/schema/") ? /\.(?:insert|update|delete)\((\w+)\)/g : /$^/g;
    const built = [...text.matchAll(builds)].map((match) => tables.get(match[1]!));
    const folder = file.split("/").slice(0, file.startsWith("core/") ? 2 : 1);
    for (const name of [...named, ...built]) found.get(name ?? "")?.add(folder.join("/"));
  }
  return found;
}

function tableOf(key: string, table: unknown): [string, string][] {
  return is(table, Table) ? [[key, getTableName(table)]] : [];
}

describe("CONTRIBUTING.md", () => {
  test("says of every table which folders write it", () => {
    const told = tableRows(readDocument("CONTRIBUTING.md"), "Table").flatMap(([names, folders]) =>
      names!.split(", ").map((name) => [name, folders!.split(", ").sort()]),
    );
    const inCode = [...writers()].map(([name, folders]) => [name, [...folders].sort()]);
    expect(Object.fromEntries(told)).toEqual(Object.fromEntries(inCode));
  });
});
