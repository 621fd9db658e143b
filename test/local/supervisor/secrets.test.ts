import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { loadRpcTokens, loadSecretKeys } from "#services/local/supervisor/secrets.ts";
import { readConfig } from "#services/platform/config.ts";
import { hashOfSecret, rpcTokensVar, secretKeysVar } from "#services/platform/variables.ts";
import { temporaryFolder } from "#test/support/folder.ts";

const existing = [AccountService, CampaignService, BroadcastService, DeliveryService].flatMap((service) =>
  service.methods.map((method) => `${service.typeName}/${method.name}`),
);

describe("loadRpcTokens", () => {
  test("makes the secrets once, in a file that only its owner can read", () => {
    const path = join(temporaryFolder("secrets"), "rpc-tokens.json");
    const first = loadRpcTokens(path);
    expect(loadRpcTokens(path)).toEqual(first);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(new Set(first.map(({ secret }) => secret)).size).toBe(first.length);
  });

  test("makes tokens that the services accept, for RPCs that exist", () => {
    const tokens = loadRpcTokens(join(temporaryFolder("secrets"), "rpc-tokens.json"));
    const env = { RPC_TOKENS: JSON.stringify(tokens) };
    expect(readConfig(Type.Object({ RPC_TOKENS: rpcTokensVar }), env).RPC_TOKENS).toEqual(
      tokens.map((token) => ({ ...token, hash: hashOfSecret(token.secret) })),
    );
    for (const rpc of tokens.flatMap(({ allow }) => allow)) expect([...existing, "*"]).toContain(rpc);
  });

  test("keeps accounts, bots, campaigns and leads out of the gateway's reach", () => {
    const tokens = loadRpcTokens(join(temporaryFolder("secrets"), "rpc-tokens.json"));
    const gateway = tokens.find(({ name }) => name === "gateway")!;
    expect(
      gateway.allow.filter((rpc) => /\/(Put|Create(?!Broadcast)|Set|Delete(?!Broadcast)|Revoke)|\*/.test(rpc)),
    ).toEqual([]);
  });
});

describe("loadSecretKeys", () => {
  test("makes one key of 32 bytes and keeps it", () => {
    const path = join(temporaryFolder("secrets"), "secret-keys");
    const made = loadSecretKeys(path);
    expect(loadSecretKeys(path)).toBe(made);
    const { SECRET_KEYS } = readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), { SECRET_KEYS: made });
    expect(SECRET_KEYS.map(({ key }) => key.length)).toEqual([32]);
  });
});
