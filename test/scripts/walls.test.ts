/**
 * The walls between the rooms, as biome.jsonc builds them: the linter sees each forbidden import and lets each permitted one
 * pass, at paths that exist or could. All files stand in one temporary folder, so that the linter starts once.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "../..");

/** What no room has walls for: the generated code, and the tools' own settings. */
const UNWALLED = ["gen/", "drizzle.config.ts"];

/** No file may import this: another room by a path of dots. */
const FORBIDDEN_TO_ALL = "../services/core/database/client.ts";

const SISTER = "A service never imports another one";
const LOCAL = "Production never needs services/local/";
const TESTS = "Nothing imports test/";
const DOTS = "Another room is imported by its # name";
const DOMAIN = "The domain does no I/O";
const TYPES = "The domain takes types from here";
const CORE = "Core knows no service";
const PLATFORM = "Platform knows neither core nor a service";
const SETTINGS = "Local sees the configuration of a service";
const GATEWAY = "The gateway sees gen/";
const SCRIPT = "A script starts processes";
const EXAMPLE = "An example sees gen/";

interface Case {
  file: string;
  /** An import, or a whole statement. */
  imports: string;
  /** The wall's message; undefined: the import is permitted. */
  wall?: string;
}

const services = ["account", "campaign", "broadcast", "relay", "delivery"];

const ofServices = services.flatMap((name): Case[] => {
  const file = `services/${name}/probe.ts`;
  return [
    ...services
      .filter((other) => other !== name)
      .flatMap((other) => [
        { file, imports: `#services/${other}/store.ts`, wall: SISTER },
        { file, imports: `../${other}/store.ts`, wall: DOTS },
      ]),
    { file, imports: "#services/local/sandbox/client.ts", wall: LOCAL },
    { file, imports: "../local/sandbox/client.ts", wall: DOTS },
    { file, imports: "../../gateway/clients.ts", wall: DOTS },
    { file, imports: "../../bench/world.ts", wall: DOTS },
    { file, imports: "../../scripts/lock.ts", wall: DOTS },
    { file, imports: "#test/support/world.ts", wall: TESTS },
    { file, imports: "../../test/support/world.ts", wall: TESTS },
    { file, imports: `#gen/leadcast/${name}/v1/${name}_service_pb.ts` },
    { file, imports: "#services/core/ledger/claim.ts" },
    { file, imports: "#services/platform/log.ts" },
    { file, imports: "./store.ts" },
    { file, imports: "postgres" },
  ];
});

/** A file of rules has the walls of its room and one more. */
const ofRules = (file: string, own: Case[]): Case[] => [
  ...own.map((row) => ({ ...row, file })),
  ...[
    ...["drizzle-orm", "drizzle-orm/pg-core", "postgres", "nats", "grammy", "@connectrpc/connect", "node:fs/promises"],
    ...["#services/core/database/client.ts", "#services/core/queue/jobs.ts", "#services/core/ledger/settle.ts"],
    ...["#services/platform/clock.ts", "#services/platform/rpc/client.ts", "./store.ts", "./block-store.ts"],
  ].map((imports) => ({ file, imports, wall: DOMAIN })),
  { file, imports: 'import { claimSends } from "#services/core/ledger/claim.ts";', wall: TYPES },
  { file, imports: 'import type { ClaimedSend } from "#services/core/ledger/claim.ts";' },
  { file, imports: "#services/core/ledger/send.ts" },
  { file, imports: "#services/core/message/body.ts" },
  { file, imports: "#services/platform/domain-error.ts" },
  { file, imports: "./limits.ts" },
  { file, imports: "node:crypto" },
];

const ofCore = (file: string): Case[] => [
  ...services.map((name) => ({ file, imports: `#services/${name}/store.ts`, wall: CORE })),
  { file, imports: "../../delivery/store.ts", wall: DOTS },
  { file, imports: "#services/local/embedded/postgres.ts", wall: LOCAL },
  { file, imports: "#test/support/world.ts", wall: TESTS },
];

const cases: Case[] = [
  ...ofServices,
  ...ofRules("services/broadcast/broadcast.ts", [
    { file: "", imports: "#services/delivery/store.ts", wall: SISTER },
    { file: "", imports: "#services/local/sandbox/client.ts", wall: LOCAL },
    { file: "", imports: "../campaign/lead.ts", wall: DOTS },
    { file: "", imports: "#test/support/world.ts", wall: TESTS },
  ]),
  ...ofRules("services/core/message/new-rule.ts", ofCore("")),
  ...ofCore("services/core/new-room/probe.ts"),
  { file: "services/core/new-room/probe.ts", imports: "#services/core/database/client.ts" },
  { file: "services/core/new-room/probe.ts", imports: "../database/client.ts" },
  ...services.map((name) => ({
    file: "services/platform/rpc/probe.ts",
    imports: `#services/${name}/main.ts`,
    wall: PLATFORM,
  })),
  { file: "services/platform/rpc/probe.ts", imports: "#services/core/ledger/send.ts", wall: PLATFORM },
  { file: "services/platform/rpc/probe.ts", imports: "../../core/ledger/send.ts", wall: DOTS },
  { file: "services/platform/rpc/probe.ts", imports: "#services/local/sandbox/client.ts", wall: LOCAL },
  { file: "services/platform/rpc/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "services/platform/rpc/probe.ts", imports: "../log.ts" },
  { file: "services/platform/rpc/probe.ts", imports: "#gen/leadcast/errors/v1/error_info_pb.ts" },
  { file: "services/local/supervisor/probe.ts", imports: "#services/delivery/worker.ts", wall: SETTINGS },
  { file: "services/local/supervisor/probe.ts", imports: "../../../gateway/app.ts", wall: DOTS },
  { file: "services/local/supervisor/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "services/local/supervisor/probe.ts", imports: "#services/delivery/config.ts" },
  { file: "services/local/supervisor/probe.ts", imports: "../../../gateway/config.ts" },
  ...["#services/core/message/limits.ts", "#services/account/store.ts", "#services/local/sandbox/client.ts"].map(
    (imports) => ({ file: "gateway/routes/probe.ts", imports, wall: GATEWAY }),
  ),
  ...["drizzle-orm", "postgres", "nats"].map((imports) => ({ file: "gateway/probe.ts", imports, wall: GATEWAY })),
  { file: "gateway/routes/probe.ts", imports: "../../services/core/database/client.ts", wall: DOTS },
  { file: "gateway/routes/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "gateway/routes/probe.ts", imports: "#services/platform/rpc/client.ts" },
  { file: "gateway/routes/probe.ts", imports: "#gen/leadcast/account/v1/account_pb.ts" },
  { file: "gateway/routes/probe.ts", imports: "../params.ts" },
  { file: "bench/rows/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "bench/rows/probe.ts", imports: "../../test/support/world.ts", wall: TESTS },
  { file: "bench/rows/probe.ts", imports: "#services/delivery/delivery.ts" },
  { file: "scripts/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "scripts/probe.ts", imports: "#services/core/database/client.ts", wall: SCRIPT },
  { file: "scripts/probe.ts", imports: "#services/local/supervisor/supervisor.ts" },
  { file: "scripts/chaos.ts", imports: "#services/delivery/worker.ts", wall: SCRIPT },
  { file: "scripts/chaos.ts", imports: "#test/chaos/run.ts" },
  { file: "examples/probe.ts", imports: "#services/platform/rpc/client.ts", wall: EXAMPLE },
  { file: "examples/probe.ts", imports: "#test/support/world.ts", wall: TESTS },
  { file: "examples/probe.ts", imports: "#gen/leadcast/account/v1/account_pb.ts" },
  { file: "test/delivery/probe.test.ts", imports: "../../services/delivery/worker.ts", wall: DOTS },
  { file: "test/delivery/probe.test.ts", imports: "#services/delivery/worker.ts" },
  // Every way to import is seen.
  { file: "services/account/ways.ts", imports: 'import type { A } from "#services/delivery/a.ts";', wall: SISTER },
  { file: "services/account/ways.ts", imports: 'export { b } from "#services/delivery/b.ts";', wall: SISTER },
  { file: "services/account/ways.ts", imports: 'export * from "#services/delivery/c.ts";', wall: SISTER },
  { file: "services/account/ways.ts", imports: 'await import("#services/delivery/d.ts");', wall: SISTER },
];

interface Diagnostic {
  message: string;
  location: { path: string; start: { line: number } };
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "leadcast-walls-"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the linter says of these files, as `path:line` with the messages of that line. */
function lint(name: string, files: ReadonlyMap<string, readonly string[]>): Map<string, string[]> {
  const place = join(folder, name);
  mkdirSync(place);
  writeFileSync(join(place, "biome.jsonc"), readFileSync(join(root, "biome.jsonc")));
  for (const [file, lines] of files) {
    mkdirSync(dirname(join(place, file)), { recursive: true });
    writeFileSync(join(place, file), `${lines.join("\n")}\n`);
  }
  const only = ["--only=style/noRestrictedImports", "--vcs-enabled=false"];
  const words = ["lint", ...only, "--reporter=json", "--max-diagnostics=none", "."];
  const result = Bun.spawnSync([join(root, "node_modules/.bin/biome"), ...words], { cwd: place });
  const { diagnostics } = JSON.parse(result.stdout.toString()) as { diagnostics: Diagnostic[] };
  const found = new Map<string, string[]>();
  for (const { message, location } of diagnostics) {
    const key = `${location.path}:${location.start.line}`;
    found.set(key, [...(found.get(key) ?? []), message]);
  }
  return found;
}

interface WallSet {
  includes: string[];
}

function wallSets(): WallSet[] {
  const text = readFileSync(join(root, "biome.jsonc"), "utf8").replaceAll(/^\s*\/\/.*$/gm, "");
  return (JSON.parse(text) as { overrides: WallSet[] }).overrides;
}

function sourceFiles(): string[] {
  const rooms = readdirSync(root).filter((name) => !name.startsWith(".") && name !== "node_modules");
  return rooms
    .flatMap((room) => [room, ...(statSync(join(root, room)).isDirectory() ? filesOf(room) : [])])
    .filter((file) => /\.(ts|tsx|mjs|js)$/.test(file) && !UNWALLED.some((start) => file.startsWith(start)))
    .sort();
}

function filesOf(room: string): string[] {
  return readdirSync(join(root, room), { recursive: true, encoding: "utf8" }).map((file) => `${room}/${file}`);
}

/** As Biome reads `includes`: the last entry that matches decides. */
function isIn(set: WallSet, file: string): boolean {
  const deciding = set.includes.findLast((glob) => new Bun.Glob(glob.replace(/^!/, "")).match(file));
  return deciding !== undefined && !deciding.startsWith("!");
}

describe("walls", () => {
  test("each forbidden import is seen, and each permitted one passes", () => {
    const files = new Map<string, string[]>();
    const places = cases.map(({ file, imports }) => {
      const lines = files.get(file) ?? [];
      files.set(file, lines);
      return `${file}:${lines.push(/["']/.test(imports) ? imports : `import "${imports}";`)}`;
    });
    const found = lint("cases", files);
    const wrong = cases.flatMap(({ imports, wall }, index) => {
      const messages = found.get(places[index]!) ?? [];
      const right = wall === undefined ? messages.length === 0 : messages.some((message) => message.includes(wall));
      return right ? [] : [{ at: places[index], imports, expected: wall ?? "permitted", messages }];
    });
    expect(wrong).toEqual([]);
  });

  test("stand around every source file", () => {
    const sources = sourceFiles();
    const found = lint("all", new Map(sources.map((file) => [file, [`import "${FORBIDDEN_TO_ALL}";`]])));
    expect(sources.length).toBeGreaterThan(400);
    expect(sources.filter((file) => !found.has(`${file}:1`))).toEqual([]);
  });

  test("are built once for each file, as the last of several sets would replace the others", () => {
    const sets = wallSets();
    const notOnce = sourceFiles().filter((file) => sets.filter((set) => isIn(set, file)).length !== 1);
    expect(notOnce).toEqual([]);
  });

  test("name no file that has gone", () => {
    const sources = new Set(sourceFiles());
    const named = wallSets().flatMap(({ includes }) => includes.map((glob) => glob.replace(/^!/, "")));
    expect(named.filter((name) => !name.includes("*") && !sources.has(name))).toEqual([]);
  });
});
