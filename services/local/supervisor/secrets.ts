import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import type { RpcToken } from "#services/platform/variables.ts";

function rpcs<S extends { typeName: string; method: object }>(service: S, names: (keyof S["method"])[]): string[] {
  return names.map((name) => {
    const text = String(name);
    return `${service.typeName}/${text[0]!.toUpperCase()}${text.slice(1)}`;
  });
}

/**
 * Who may call what. The gateway's token does what a customer may do, and nothing to accounts, bots and leads; the
 * platform's may do everything, and stands for the internal services around us. README's example grants the same.
 */
export const grants: Readonly<Record<string, readonly string[]>> = {
  platform: ["*"],
  gateway: [
    ...rpcs(AccountService, ["resolveSession"]),
    ...rpcs(CampaignService, [
      "listCampaigns",
      "listBlocks",
      "saveBlock",
      "sendBlockToMyself",
      "handleUpdate",
      "uploadMedia",
    ]),
    ...rpcs(BroadcastService, [
      "listBroadcasts",
      "getBroadcast",
      "createBroadcast",
      "updateBroadcast",
      "startBroadcast",
      "pauseBroadcast",
      "resumeBroadcast",
      "cancelBroadcast",
      "resetBroadcast",
      "deleteBroadcast",
      "sendBroadcastToMyself",
      "getQuota",
      "getProgress",
      "watchBroadcast",
    ]),
  ],
  campaign: rpcs(DeliveryService, ["sendPreview", "setWebhook", "checkToken"]),
  broadcast: rpcs(DeliveryService, ["sendPreview"]),
};

/** The processes that call others, and so show a token of their own. */
export const callers = ["gateway", "campaign", "broadcast"] as const;

/** Reads the callers' secrets, making those that are missing. What each may call is decided here at every start. */
export function loadRpcTokens(path: string): RpcToken[] {
  const known = JSON.parse(readOr(path, "{}")) as Record<string, string>;
  const secrets = Object.keys(grants).map(
    (name) => [name, known[name] ?? randomBytes(32).toString("base64url")] as const,
  );
  if (secrets.some(([name]) => known[name] === undefined)) {
    writePrivate(path, `${JSON.stringify({ ...known, ...Object.fromEntries(secrets) }, null, 2)}\n`);
  }
  return secrets.map(([name, secret]) => ({ name, secret, allow: grants[name]! }));
}

/** Reads the keys that encrypt bot tokens, or makes the first one. */
export function loadSecretKeys(path: string): string {
  const known = readOr(path, "").trim();
  if (known !== "") return known;
  const made = `k1:${randomBytes(32).toString("base64")}`;
  writePrivate(path, `${made}\n`);
  return made;
}

/** Writes a file that only its owner can read, whole or not at all. */
export function writePrivate(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** @returns the file's text, or the given one where there is no such file. */
export function readOr(path: string, absent: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return absent;
  }
}
