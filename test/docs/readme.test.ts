import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TObject, Type } from "@sinclair/typebox";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { Config as AccountConfig } from "#services/account/config.ts";
import { Config as BroadcastConfig } from "#services/broadcast/config.ts";
import { Config as CampaignConfig } from "#services/campaign/config.ts";
import { Config as DeliveryConfig } from "#services/delivery/config.ts";
import { callersOf } from "#services/local/supervisor/plan.ts";
import { grants } from "#services/local/supervisor/secrets.ts";
import { settingsSchema } from "#services/local/supervisor/settings.ts";
import { isSecret, readConfig } from "#services/platform/config.ts";
import { knownNames, secretNames } from "#services/platform/config-names.ts";
import { defaultLimits } from "#services/platform/transport/limits.ts";
import { rpcTokensVar, rpcTokenVar, secretKeysVar } from "#services/platform/variables.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { Config as GatewayConfig } from "../../gateway/config.ts";
import { codeBlocks, localLinks, readDocument, tableRows } from "./markdown.ts";

const root = join(import.meta.dirname, "../..");

const schemas: Readonly<Record<string, TObject>> = {
  account: AccountConfig,
  campaign: CampaignConfig,
  broadcast: BroadcastConfig,
  delivery: DeliveryConfig,
  gateway: GatewayConfig,
  "npm start": settingsSchema,
};

interface Variable {
  readers: Set<string>;
  /** As the code has it; empty where it is required, optional, or decided elsewhere. */
  defaults: Set<string>;
}

/** The variables of every configuration, and those that the sandbox asks for by name. */
function variablesInCode(): Map<string, Variable> {
  const found = new Map<string, Variable>();
  const add = (name: string, reader: string, fallback: unknown) => {
    const variable = found.get(name) ?? { readers: new Set(), defaults: new Set() };
    variable.readers.add(reader);
    if (typeof fallback !== "object" && fallback !== undefined) variable.defaults.add(String(fallback));
    found.set(name, variable);
  };
  for (const [reader, { properties }] of Object.entries(schemas)) {
    for (const [name, schema] of Object.entries(properties)) add(name, reader, schema.default);
  }
  const sandbox = readFileSync(join(root, "services/local/sandbox/main.ts"), "utf8");
  for (const [, name, rest] of sandbox.matchAll(/(?:process\.env\.|portFrom\(")([A-Z][A-Z0-9_]+)(.*)$/gm)) {
    add(name!, "sandbox", /(?:", |\|\| ")([\w.:/]+)/.exec(rest!)?.[1]);
  }
  return found;
}

/** Runs the README's shell lines that make the secrets, with a stand-in for openssl. */
function makeSecrets(script: string): string {
  const folder = temporaryFolder("readme");
  const openssl = join(folder, "openssl");
  writeFileSync(
    openssl,
    `#!${process.execPath}
const { createHash, randomBytes } = require("node:crypto");
const [command, form, size] = process.argv.slice(2);
if (command === "rand") console.log(randomBytes(Number(size)).toString(form.slice(1)));
else console.log(createHash("sha256").update(require("node:fs").readFileSync(0)).digest("hex") + " *stdin");
`,
    { mode: 0o755 },
  );
  const ran = Bun.spawnSync(["sh", "-ec", script], {
    cwd: folder,
    env: { PATH: `${folder}:${process.env.PATH}` },
    stderr: "pipe",
  });
  if (ran.exitCode !== 0) throw new Error(ran.stderr.toString());
  return join(folder, "secrets");
}

describe("README.md", () => {
  const readme = readDocument("README.md");
  const rows = tableRows(readme, "Variable").flatMap(([names, shown, readers]) =>
    names!.split(", ").map((name) => ({
      name,
      shown: shown!,
      readers: readers!.replace("its process", name.split("_")[0]!.toLowerCase()).split(", ").sort(),
    })),
  );

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

  test("is complete, and so are the lists of known names and of those that may stand in a file", () => {
    expect(rows.map(({ name }) => name).sort()).toEqual([...knownNames].sort());
    const secret = Object.values(schemas).flatMap(({ properties }) =>
      Object.entries(properties).flatMap(([name, schema]) => (isSecret(schema) ? [name] : [])),
    );
    expect([...new Set(secret)].sort()).toEqual([...secretNames].sort());
    const told = /\*\*Secrets from files\.\*\* (.*?) may each/s.exec(readme)![1]!;
    expect([...told.matchAll(/`(\w+)`/g)].map(([, name]) => name!).sort()).toEqual([...secretNames].sort());
  });

  test("makes secrets for processes alone that they take, and grants what npm start grants", () => {
    const block = codeBlocks(readme).find(({ text }) => text.includes("secrets/$name.token"))!.text;
    const folder = makeSecrets(block);
    const tokens = Object.entries(grants).map(([name, allow]) => {
      const secret = readFileSync(join(folder, `${name}.token`), "utf8").trim();
      return { name, secret, allow };
    });
    for (const service of [AccountService, CampaignService, BroadcastService, DeliveryService]) {
      const name = service.typeName.split(".")[1]!;
      const env = { RPC_TOKENS_FILE: join(folder, `${name}.callers`) };
      const callers = readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), env).RPC_TOKENS;
      expect([...callers]).toEqual(callersOf(service.typeName, tokens));
    }
    const own = { RPC_TOKEN_FILE: join(folder, "gateway.token"), SECRET_KEYS_FILE: join(folder, "keys") };
    const config = readConfig(Type.Object({ RPC_TOKEN: rpcTokenVar, SECRET_KEYS: secretKeysVar }), own);
    expect(config.RPC_TOKEN).toBe(tokens.find(({ name }) => name === "gateway")!.secret);
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

describe.each(["README.md", "CHANGELOG.md", "CONTRIBUTING.md", ...new Bun.Glob("docs/*.md").scanSync(root)])(
  "%s",
  (path) => {
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
  },
);
