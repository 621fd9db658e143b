import { describe, expect, test } from "bun:test";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { createValidateInterceptor } from "@connectrpc/validate";
import { DrizzleQueryError } from "drizzle-orm";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { ErrorInfoSchema } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { isConnectionFailure } from "#services/platform/connection-failure.ts";
import { DomainError, ErrorReason, notYours, type Reason } from "#services/platform/domain-error.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { type CallFailure, domainErrorInterceptor, reasonFromError } from "#services/platform/rpc/errors.ts";
import { captureLog } from "#test/platform/captured-log.ts";

/** A client of a service whose GetAccount throws what it is told to. */
function setup(thrown: unknown) {
  const captured = captureLog();
  const transport = createRouterTransport(
    ({ service }) => {
      service(AccountService, {
        getAccount: () => {
          throw thrown;
        },
        putTariff: ({ tariff }) => ({ tariff }),
      });
    },
    { router: { interceptors: [domainErrorInterceptor(captured.log), createValidateInterceptor()] } },
  );
  const client = createClient(AccountService, transport);
  const failure = async () => {
    const error = await client.getAccount({ accountId: 1n }).catch((reason: unknown) => reason);
    if (!(error instanceof ConnectError)) throw new Error("the call did not fail");
    return error;
  };
  return { ...captured, client, failure };
}

function coded(code: string): Error {
  return Object.assign(new Error("secret detail"), { code });
}

describe("domainErrorInterceptor", () => {
  const reasons = Object.values(ErrorReason).filter(
    (reason): reason is Reason => typeof reason === "number" && reason !== ErrorReason.UNSPECIFIED,
  );
  test.each(reasons)("carries reason %p, its sentence and its field to the caller", async (reason) => {
    const { failure } = setup(new DomainError(reason, "Do this instead.", { field: "account_id" }));
    const error = await failure();
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason, field: "account_id" }]);
    expect(reasonFromError(error)).toEqual({ reason, message: "Do this instead.", field: "account_id" });
    expect(error.code).not.toBe(Code.Unknown);
  });

  test("says what is wrong with a request's field", async () => {
    const { client } = setup(undefined);
    const error = await client.putTariff({ tariff: { name: "x".repeat(256) } }).catch((reason: unknown) => reason);
    expect(reasonFromError(error)).toEqual({
      reason: ErrorReason.INVALID_ARGUMENT,
      message: "tariff.name: must be at most 255 characters",
      field: "tariff.name",
    });
  });

  const unavailable: [string, unknown][] = [
    ...["CONNECTION_CLOSED", "CONNECT_TIMEOUT", "ECONNREFUSED", "57P01", "57P03", "08006", "53300", "503"].map(
      (code): [string, unknown] => [code, coded(code)],
    ),
    ["a query that failed for that", new DrizzleQueryError("select", [], coded("CONNECTION_ENDED"))],
  ];
  test.each(unavailable)("calls %s UNAVAILABLE", async (_, thrown) => {
    const { failure, text } = setup(thrown);
    const error = await failure();
    expect(error.code).toBe(Code.Unavailable);
    expect(reasonFromError(error).reason).toBe(ErrorReason.UNAVAILABLE);
    expect(error.message).not.toContain("secret detail");
    expect(text()).toContain("a dependency is not reachable");
  });

  const faults: [string, unknown][] = [
    ["an exception", new TypeError("secret detail")],
    ["a failed query", new DrizzleQueryError("select", ["secret detail"], coded("42P01"))],
    ["something that is no error", "secret detail"],
    ["a peer that refuses our own token", new ConnectError("secret detail", Code.Unauthenticated)],
    ["a peer's fault", new ConnectError("secret detail", Code.Internal)],
  ];
  test.each(faults)("keeps %s to itself and logs it with the request id", async (_, thrown) => {
    const { failure, records } = setup(thrown);
    const error = await failure();
    expect(error.code).toBe(Code.Internal);
    expect(error.rawMessage).not.toContain("secret detail");
    const requestId = /the request id is (\S+)$/.exec(error.rawMessage)?.[1];
    expect(records()).toMatchObject([
      { level: "error", requestId, rpc: "leadcast.account.v1.AccountService/GetAccount" },
    ]);
  });

  test("keeps the code of the runtime's own errors and gives them the closest reason", async () => {
    const { failure, client } = setup(new ConnectError("too late", Code.DeadlineExceeded));
    const error = await failure();
    expect(error.code).toBe(Code.DeadlineExceeded);
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: ErrorReason.UNAVAILABLE }]);
    const missing = await client.putAccount({ account: { tariffId: 1n } }).catch((reason: unknown) => reason);
    expect((missing as ConnectError).code).toBe(Code.Unimplemented);
  });

  test("passes on what a peer refused for the customer's sake", async () => {
    const { failure } = setup(await setup(notYours("campaign")).failure());
    expect(reasonFromError(await failure()).reason).toBe(ErrorReason.NOT_YOURS);
  });
});

describe("reasonFromError", () => {
  test("calls a service that cannot be reached UNAVAILABLE, without its address", async () => {
    const transport = createRpcTransport({ baseUrl: "http://127.0.0.1:1", token: "0123456789abcdef" });
    const error = await createClient(AccountService, transport)
      .getAccount({ accountId: 1n })
      .catch((reason: unknown) => reason);
    const failure = reasonFromError(error);
    expect(failure.reason).toBe(ErrorReason.UNAVAILABLE);
    expect(failure.message).not.toContain("127.0.0.1");
  });

  test("says nothing of an error that is not ours", () => {
    const failure: CallFailure = {
      reason: ErrorReason.INTERNAL,
      message: "Something went wrong on our side.",
      field: "",
    };
    expect(reasonFromError(new Error("secret detail"))).toEqual(failure);
    expect(reasonFromError(undefined)).toEqual(failure);
  });
});

describe("isConnectionFailure", () => {
  test("looks through causes, and ends when they go in a circle", () => {
    const inner: Error = coded("23505");
    const outer = new Error("outer", { cause: inner });
    inner.cause = outer;
    expect(isConnectionFailure(outer)).toBe(false);
    expect(isConnectionFailure(new Error("outer", { cause: coded("ECONNRESET") }))).toBe(true);
  });
});
