import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Type } from "@sinclair/typebox";
import { readConfig, rpcTokensVar } from "#services/platform/config.ts";
import { defaultLimits } from "#services/platform/transport/limits.ts";
import { codeBlocks, localLinks, readDocument, tableRows } from "./markdown.ts";

const root = join(import.meta.dirname, "../..");

interface Variable {
  readers: Set<string>;
  /** As the code has it; undefined where it is required, optional, or decided elsewhere. */
  defaults: Set<string>;
}

/** Who reads configuration, by the name that the table gives it. */
function sources(): { reader: string; text: string }[] {
  const mains = [...new Bun.Glob("services/*/main.ts").scanSync(root), "gateway/main.ts"];
  const supervisor = readdirSync(join(root, "services/supervisor")).map((name) => `services/supervisor/${name}`);
  return [...mains, ...supervisor].map((path) => {
    const folder = dirname(path).replace("services/", "");
    const reader = folder === "supervisor" ? "npm start" : folder;
    return { reader, text: readFileSync(join(root, path), "utf8") };
  });
}

/** The variables of every configuration schema, and those that a process asks for by name. */
function variablesInCode(): Map<string, Variable> {
  const found = new Map<string, Variable>();
  for (const { reader, text } of sources()) {
    const inSchemas = [...text.matchAll(/^ {2}([A-Z][A-Z0-9_]+): (.*)$/gm)].map((match) => [match[1]!, match[2]!]);
    const byName = [...text.matchAll(/(?:process\.env\.|portFrom\(")([A-Z][A-Z0-9_]+)(.*)$/gm)];
    for (const [name, rest] of [...inSchemas, ...byName.map((match) => [match[1]!, match[2]!])]) {
      const variable = found.get(name!) ?? { readers: new Set(), defaults: new Set() };
      variable.readers.add(reader);
      const fallback = /(?:Var\("?|default: "?|", |\|\| ")([\w.:/]+)/.exec(rest!)?.[1];
      if (fallback !== undefined && fallback !== "undefined") variable.defaults.add(fallback);
      found.set(name!, variable);
    }
  }
  return found;
}

describe("README.md", () => {
  const readme = readDocument("README.md");
  const rows = tableRows(readme, "Variable").map(([name, shown, readers]) => ({
    name: name!,
    shown: shown!,
    readers: readers!.split(", ").sort(),
  }));

  test("has every variable that the processes read in its table, and no other", () => {
    const inCode = variablesInCode();
    expect(inCode.size).toBeGreaterThan(15);
    expect(rows.map(({ name }) => name).sort()).toEqual([...inCode.keys()].sort());
  });

  test.each(rows)("tells who reads $name, and its default", ({ name, shown, readers }) => {
    const variable = variablesInCode().get(name);
    expect(readers).toEqual([...variable!.readers].sort());
    if (variable!.defaults.size > 0) expect([...variable!.defaults]).toEqual([shown]);
  });

  test("tells each bound on connections with its default", () => {
    const told = tableRows(readme, "Bound").flatMap(([names, shown]) => {
      const values = shown!.split(", ");
      return names!.split(", ").map((name, index) => [name.replaceAll("`", ""), values[index]]);
    });
    const inCode = Object.entries(defaultLimits).map(([name, value]) => [
      name,
      value === Number.MAX_SAFE_INTEGER ? "none" : `${value}`,
    ]);
    expect(told.sort()).toEqual(inCode.sort());
  });

  test("shows service tokens that a process takes", () => {
    const block = codeBlocks(readme).find(({ text }) => text.includes("export RPC_TOKENS="))!.text;
    const RPC_TOKENS = /export RPC_TOKENS='([^']+)'/.exec(block)![1]!;
    const config = readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), { RPC_TOKENS });
    expect(config.RPC_TOKENS.map(({ name }) => name)).toEqual(["platform", "gateway", "campaign", "broadcast"]);
  });

  test("names only scripts that package.json has, and has all that people call", () => {
    const { scripts } = JSON.parse(readDocument("package.json")) as { scripts: Record<string, string> };
    const named = [...readme.matchAll(/npm (?:run )?(start|test|demo|check|generate|format|bench)\b/g)].map(
      (match) => match[1]!,
    );
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining([...new Set(named)]));
    expect(named).toEqual(expect.arrayContaining(["start", "test", "demo", "check", "generate", "format"]));
  });
});

describe.each(["README.md", "CHANGELOG.md", ...new Bun.Glob("docs/*.md").scanSync(root)])("%s", (path) => {
  const markdown = readDocument(path);

  test("links to nothing that is not there", () => {
    const missing = localLinks(markdown).filter((link) => {
      const [file] = link.split("#");
      return file !== "" && !existsSync(join(root, dirname(path), file!));
    });
    expect(missing).toEqual([]);
  });

  test("names only files that are there", () => {
    const named = [...markdown.matchAll(/`((?:services|gateway|test|proto|examples|scripts|bench)\/[\w./-]*)`/g)];
    // A page that says so names those of the services without their top folder.
    const short = [...markdown.matchAll(/`([a-z]+\/[a-z-]+\.ts)`/g)].filter(
      (match) => !match[1]!.startsWith("gateway"),
    );
    const paths = [...named.map((match) => match[1]!), ...short.map((match) => join("services", match[1]!))];
    const missing = paths.filter((name) => !existsSync(join(root, name)) && !existsSync(join(root, name.slice(9))));
    expect(missing).toEqual([]);
  });

  test("keeps its pictures within 100 columns", () => {
    const pictures = codeBlocks(markdown).filter(({ language }) => language === "");
    const wide = pictures.flatMap(({ text }) => text.split("\n")).filter((line) => [...line].length > 100);
    expect(wide).toEqual([]);
  });
});
