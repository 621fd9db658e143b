import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { createRouterTransport } from "@connectrpc/connect";
import { Type } from "@sinclair/typebox";
import { Registry } from "prom-client";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { trustedProxiesVar } from "#services/platform/client-address.ts";
import { readConfig } from "#services/platform/config.ts";
import { createLogger } from "#services/platform/log.ts";
import { sessionIdFrom } from "#services/platform/rpc/context.ts";
import { createGateway } from "../../gateway/app.ts";
import { createClients } from "../../gateway/clients.ts";
import { serveGateway } from "../../gateway/server.ts";

const token = "a-token-of-a-session";

/** A gateway that listens, over services that note what they are told of their client. */
async function setup(trusted: string) {
  const told: (readonly [rpc: string, address: string | null, session: string | null])[] = [];
  const note = (rpc: string, { requestHeader }: { requestHeader: Headers }) => {
    told.push([rpc, requestHeader.get("x-client-address"), requestHeader.get("x-client-session")]);
  };
  const transport = createRouterTransport((router) => {
    router.service(AccountService, {
      resolveSession: (_, context) => {
        note("session", context);
        return { accountId: 7n, paid: true };
      },
    });
    router.service(BroadcastService, {
      getQuota: (_, context) => {
        note("quota", context);
        return {};
      },
    });
    router.service(CampaignService, {
      handleUpdate: (_, context) => {
        note("update", context);
        return {};
      },
    });
  });
  const registry = new Registry();
  const log = createLogger({ service: "gateway", level: "silent" });
  const gateway = createGateway({
    clients: createClients({ account: transport, campaign: transport, broadcast: transport }),
    log,
    metrics: { registry, observeRpc: () => {}, text: () => registry.metrics(), contentType: "" },
    trustedProxies: readConfig(Type.Object({ P: trustedProxiesVar }), { P: trusted }).P,
  });
  const server = await serveGateway({ gateway, log, port: 0, host: "127.0.0.1" });
  const request = (path: string, headers: Record<string, string>, method = "GET") =>
    fetch(`http://127.0.0.1:${server.port}${path}`, { method, headers });
  return { told, request, port: server.port, [Symbol.asyncDispose]: () => server.stop() };
}

const authorization = `Bearer ${token}`;

describe("what services are told of a request's client", () => {
  test("is its peer and its session, whatever it says itself", async () => {
    await using gateway = await setup("");
    const lies = {
      "x-forwarded-for": "203.0.113.9",
      "x-client-address": "203.0.113.9",
      "x-client-session": "f".repeat(16),
    };
    await gateway.request("/api/broadcast/quota.json", { authorization, ...lies });
    expect(gateway.told).toEqual([
      ["session", "127.0.0.1", ""],
      ["quota", "127.0.0.1", sessionIdFrom(token)],
    ]);
  });

  test("is what a trusted proxy has seen", async () => {
    await using gateway = await setup("127.0.0.0/8");
    await gateway.request("/api/broadcast/quota.json", { authorization, "x-forwarded-for": "6.6.6.6, 203.0.113.9" });
    expect(gateway.told.at(-1)).toEqual(["quota", "203.0.113.9", sessionIdFrom(token)]);
  });

  test("is told with an update of Telegram's too", async () => {
    await using gateway = await setup("127.0.0.1");
    const secret = { "x-telegram-bot-api-secret-token": "the secret" };
    await gateway.request("/telegram/5", { ...secret, "x-forwarded-for": "203.0.113.9" }, "POST");
    expect(gateway.told).toEqual([["update", "203.0.113.9", ""]]);
  });

  test("is what several headers of a trusted proxy say together", async () => {
    await using gateway = await setup("127.0.0.1");
    const lines = ["6.6.6.6", "203.0.113.9"].map((address) => `x-forwarded-for: ${address}\r\n`).join("");
    const head = `GET /api/broadcast/quota.json HTTP/1.1\r\nhost: x.example\r\nauthorization: ${authorization}\r\n`;
    await answered(gateway.port, `${head}${lines}connection: close\r\n\r\n`);
    expect(gateway.told.at(-1)).toEqual(["quota", "203.0.113.9", sessionIdFrom(token)]);
  });
});

function answered(port: number, request: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host: "127.0.0.1", port }, () => socket.write(request));
  socket
    .on("error", reject)
    .on("close", () => resolve())
    .resume();
  return promise;
}
