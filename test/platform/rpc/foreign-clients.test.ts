import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Health } from "#gen/grpc/health/v1/health_pb.ts";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { descriptorSet, fullToken, startAccountServer } from "#test/platform/account-server.ts";
import { temporaryFolder } from "#test/support/folder.ts";

const schema = descriptorSet(AccountService.file, BroadcastService.file, Health.file);
const buf = join(import.meta.dirname, "..", "..", "..", "node_modules", ".bin", "buf");

async function run(command: string[], stdin = "", cwd?: string) {
  const child = Bun.spawn(command, { stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe", cwd });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, out, err };
}

describe("a grpc-js client", () => {
  test.each([process.execPath, "node"])("is served like any other, run by %s", async (runtime) => {
    await using world = await startAccountServer();
    const script = join(import.meta.dirname, "grpc-js-client.mjs");
    const address = `127.0.0.1:${world.server.port}`;
    const { out, err } = await run([runtime, script, address, fullToken], Buffer.from(schema).toString("base64"));
    expect(err).toBe("");
    // grpc-js leaves the colon of a percent-encoded message as it is.
    expect(JSON.parse(out)).toMatchObject({
      resolved: { account_id: { low: 4 }, paid: true },
      missing: { code: 16, message: "The service token is missing or unknown.", details: 1 },
      invalid: { code: 3, message: expect.stringMatching(/^account_id(:|%3A) must be greater than 0/) },
      notYours: { code: 5, message: "There is no such account in your account.", details: 1 },
      late: { code: 4 },
      large: { code: 8, details: 1 },
      health: { status: 1 },
      watched: { first: "8", code: 1 },
    });
  });
});

describe("buf curl", () => {
  const path = "leadcast.account.v1.AccountService";
  const header = ["--header", `authorization: Bearer ${fullToken}`];
  // Outside of any buf workspace, so that only what is named here can tell it the schema.
  const folder = temporaryFolder("buf");

  test.each(["grpc", "grpcweb", "connect"])(
    "calls over %s and HTTP/2, learning the schema by reflection",
    async (protocol) => {
      await using world = await startAccountServer();
      const call = [buf, "curl", "--protocol", protocol, "--http2-prior-knowledge", ...header];
      const good = await run([...call, "-d", '{"token":"abc"}', `${world.baseUrl}/${path}/ResolveSession`], "", folder);
      expect(JSON.parse(good.out)).toEqual({ accountId: "3", paid: true });
      const bad = await run([...call, "-d", '{"accountId":"99"}', `${world.baseUrl}/${path}/GetAccount`], "", folder);
      expect(JSON.parse(bad.err)).toMatchObject({
        code: "not_found",
        details: [{ type: "leadcast.errors.v1.ErrorInfo" }],
      });
    },
  );

  test.each(["grpcweb", "connect"])("calls over %s and HTTP/1.1", async (protocol) => {
    await using world = await startAccountServer();
    const image = join(folder, "schema.binpb");
    await Bun.write(image, schema);
    const call = [buf, "curl", "--protocol", protocol, "--schema", image, ...header, "-d", '{"token":"abc"}'];
    const { out } = await run([...call, `${world.baseUrl}/${path}/ResolveSession`], "", folder);
    expect(JSON.parse(out)).toEqual({ accountId: "3", paid: true });
  });

  test.each(["grpc-v1", "grpc-v1alpha"])("lists services and methods by reflection %s", async (version) => {
    await using world = await startAccountServer();
    const options = ["--http2-prior-knowledge", "--reflect-protocol", version];
    const { out } = await run([buf, "curl", ...options, "--list-methods", world.baseUrl], "", folder);
    expect(out.split("\n")).toContain("leadcast.account.v1.AccountService/GetAccount");
    expect(out.split("\n")).toContain("grpc.health.v1.Health/Check");
  });
});
