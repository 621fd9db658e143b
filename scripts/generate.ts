/**
 * Writes everything under `gen/` again, from our schemas and from the two gRPC schemas that every server also speaks.
 *
 * Health and reflection are standard services whose `.proto` files arrive inside npm packages; they are copied under
 * `.cache/proto/grpc`, at the paths that their package names ask for, so that `buf` sees one ordinary module. `--clean`
 * empties `gen/` first: a message that was renamed leaves no file behind.
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const cache = join(root, ".cache", "proto");
const require = createRequire(import.meta.url);

/** Folder of an installed package; neither package exports its `.proto` files, so they are found by path. */
function packageFolder(name: string): string {
  return join(dirname(require.resolve(name)), "..", "..");
}

const copies = [
  { from: join(packageFolder("grpc-health-check"), "proto/health/v1/health.proto"), to: "grpc/health/v1/health.proto" },
  ...["v1", "v1alpha"].map((version) => ({
    from: join(packageFolder("@grpc/reflection"), `build/proto/grpc/reflection/${version}/reflection.proto`),
    to: `grpc/reflection/${version}/reflection.proto`,
  })),
];

function copySchemas(): void {
  for (const { from, to } of copies) {
    const target = join(cache, to);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(from, target);
  }
}

function run(command: string[]): void {
  const path = `${join(root, "node_modules", ".bin")}:${process.env.PATH ?? ""}`;
  const result = Bun.spawnSync(command, {
    cwd: root,
    env: { ...process.env, PATH: path },
    stdout: "inherit",
    stderr: "inherit",
  });
  if (!result.success) throw new Error(`${command.join(" ")} ended with ${result.exitCode}`);
}

run([process.execPath, join("scripts", "print-validate-proto.ts")]);
copySchemas();
// Another folder may be named, so that a check can compare without touching the working tree.
run(["buf", "generate", "--clean", "--output", process.argv[2] ?? root]);
