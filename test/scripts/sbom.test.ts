import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "#test/support/folder.ts";

const root = join(import.meta.dirname, "../..");

test("the bill of materials names every locked package, Bun, PostgreSQL and nats-server", () => {
  const target = join(temporaryFolder("sbom"), "sbom.json");
  const made = Bun.spawnSync([process.execPath, "scripts/sbom.ts", target], { cwd: root });
  expect(made.stderr.toString()).toBe("");

  const bom = JSON.parse(readFileSync(target, "utf8"));
  const names: string[] = bom.components.map(({ purl }: { purl: string }) => purl);
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));

  expect(bom).toMatchObject({ bomFormat: "CycloneDX", metadata: { component: { name: "leadcast" } } });
  expect(names).toContain(`pkg:github/oven-sh/bun@bun-v${Bun.version}`);
  for (const start of ["pkg:generic/postgresql@18.", "pkg:github/nats-io/nats-server@v2."]) {
    expect(names.filter((name) => name.startsWith(start))).toHaveLength(1);
  }
  for (const [path, { version }] of Object.entries<{ version: string }>(lock.packages)) {
    if (path === "") continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    expect(names).toContain(`pkg:npm/${name.replace("@", "%40")}@${version}`);
  }
});
