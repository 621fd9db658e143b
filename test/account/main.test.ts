import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#gen/grpc/health/v1/health_pb.ts";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { runService, startService } from "#test/support/service-process.ts";

const main = "services/account/main.ts";
const tokens = [
  { name: "billing", secret: "billing-secret-0001", allow: ["leadcast.account.v1.AccountService/*"] },
  { name: "gateway", secret: "gateway-secret-0001", allow: ["leadcast.account.v1.AccountService/ResolveSession"] },
];

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

describe("the account process", () => {
  test("serves callers by their tokens, knows its health, and drains on SIGTERM", async () => {
    const service = await startService(main, {
      DATABASE_URL: database.url,
      ACCOUNT_PORT: "0",
      RPC_TOKENS: JSON.stringify(tokens),
    });
    const transport = (secret: string) =>
      createRpcTransport({ baseUrl: `http://127.0.0.1:${service.port}`, token: secret });
    const billing = createClient(AccountService, transport("billing-secret-0001"));
    const gateway = createClient(AccountService, transport("gateway-secret-0001"));

    const { tariff } = await billing.putTariff({ tariff: { name: "Pro" } });
    const { account } = await billing.putAccount({ account: { tariffId: tariff!.id } });
    const { token } = await billing.createSession({ accountId: account!.id });
    expect(await gateway.resolveSession({ token })).toMatchObject({ accountId: account!.id, paid: false });
    expect(await reasonOf(gateway.getAccount({ accountId: account!.id }))).toBe("FORBIDDEN");
    const health = createClient(Health, transport("none"));
    expect((await health.check({ service: AccountService.typeName })).status).toBe(Status.SERVING);

    expect(await service.stop()).toBe(0);
  });

  test("names every bad variable at once and does not start", async () => {
    const { exitCode, stderr } = await runService(main, { ACCOUNT_PORT: "http", DATABASE_URL: "mysql://x" });

    expect(exitCode).not.toBe(0);
    for (const name of ["ACCOUNT_PORT", "DATABASE_URL", "RPC_TOKENS"]) expect(stderr).toContain(name);
  });
});
