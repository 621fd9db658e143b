import { create, type DescFile, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { currentRequestId } from "#services/platform/rpc/context.ts";
import { createRpcServer, type RpcServer, type RpcServerOptions } from "#services/platform/rpc/server.ts";
import { type CapturedLog, captureLog } from "./captured-log.ts";

/** May call everything. */
export const fullToken = "full-token-0123456789";
/** May call ResolveSession and nothing else. */
export const sessionToken = "session-token-0123456789";

export interface AccountWorld extends AsyncDisposable {
  server: RpcServer;
  baseUrl: string;
  log: CapturedLog;
  client: Client<typeof AccountService>;
  broadcasts: Client<typeof BroadcastService>;
  /** Makes GetAccount for account 2 wait until it is called. */
  release: () => void;
  /** Ids of requests whose handler was told, by its signal, that the call is over. */
  aborted: string[];
  /** How many calls have reached a handler. */
  calls: () => number;
}

/**
 * A started server with accounts in memory. Account 1 exists; 2 answers after `release`; 3 never answers and does not
 * look at its signal; 4 is a bug whose error holds a bot token; every other id is nobody's.
 */
export async function startAccountServer(overrides: Partial<RpcServerOptions> = {}): Promise<AccountWorld> {
  const log = captureLog();
  const released = Promise.withResolvers<void>();
  const aborted: string[] = [];
  let calls = 0;

  async function getAccount({ accountId }: { accountId: bigint }) {
    calls += 1;
    if (accountId === 2n) await released.promise;
    if (accountId === 3n) await new Promise(() => undefined);
    if (accountId === 4n) throw new TypeError("cannot use 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
    if (accountId > 4n) throw notYours("account");
    return { account: { id: accountId, name: currentRequestId() ?? "" } };
  }

  const server = createRpcServer({
    service: "account",
    host: "127.0.0.1",
    port: 0,
    services: [AccountService, BroadcastService],
    tokens: [
      { name: "full", secret: fullToken, allow: ["*"] },
      { name: "sessions", secret: sessionToken, allow: ["leadcast.account.v1.AccountService/ResolveSession"] },
    ],
    log: log.log,
    metrics: createMetrics("account"),
    routes: (router) => {
      router.service(AccountService, {
        getAccount,
        putTariff: ({ tariff }) => ({ tariff }),
        resolveSession: ({ token }) => ({ accountId: BigInt(token.length), paid: true }),
      });
      router.service(BroadcastService, {
        async *watchBroadcast({ broadcastId }, { signal }) {
          const requestId = currentRequestId() ?? "";
          yield { progress: { pauseReason: `${broadcastId}` } };
          const { promise, resolve } = Promise.withResolvers<void>();
          signal.addEventListener("abort", () => resolve(), { once: true });
          await promise;
          aborted.push(requestId);
        },
      });
    },
    ...overrides,
  });
  await server.start();
  const baseUrl = `http://127.0.0.1:${server.port}`;
  const transport = createRpcTransport({ baseUrl, token: fullToken });
  return {
    server,
    baseUrl,
    log,
    client: createClient(AccountService, transport),
    broadcasts: createClient(BroadcastService, transport),
    release: () => released.resolve(),
    aborted,
    calls: () => calls,
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** The schema of AccountService and health, for clients that know nothing of our generated code. */
export function descriptorSet(...files: DescFile[]): Uint8Array {
  const found = new Map<string, DescFile>();
  const add = (file: DescFile) => {
    for (const dependency of file.dependencies) add(dependency);
    found.set(file.proto.name, file);
  };
  for (const file of files) add(file);
  const file = [...found.values()].map(({ proto }) => create(FileDescriptorProtoSchema, proto));
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
}
