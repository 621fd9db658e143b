import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import type { WatchedTls } from "#services/platform/certificates.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { demoAccountId, demoBots, demoCampaigns, demoLeads, demoTariff } from "./demo-data.ts";
import { readOr, writePrivate } from "./secrets.ts";

export interface SeedOptions {
  accountUrl: string;
  campaignUrl: string;
  /** Secret of a token that may call everything. */
  token: string;
  tls?: WatchedTls | undefined;
  /** Exists once the demo data is complete. */
  seededPath: string;
  sessionPath: string;
}

const sessionSeconds = 31_536_000;
const paidYears = 10;

/**
 * Makes the demo account with its bots, campaigns and leads, once. Everything goes through the RPCs that any platform
 * would call, as Puts with fixed ids: a seeding that was interrupted is simply done again.
 *
 * @returns whether it was made now.
 */
export async function seedDemo(options: SeedOptions): Promise<boolean> {
  if (readOr(options.seededPath, "") !== "") return false;
  const account = createClient(
    AccountService,
    createRpcTransport({ baseUrl: options.accountUrl, token: options.token, tls: options.tls }),
  );
  const campaign = createClient(
    CampaignService,
    createRpcTransport({ baseUrl: options.campaignUrl, token: options.token, tls: options.tls, timeoutMs: 60_000 }),
  );
  await account.putTariff({ tariff: demoTariff });
  await account.putAccount({
    account: {
      id: demoAccountId,
      name: "Demo account",
      tariffId: demoTariff.id,
      paidUntilTime: timestampFromMs(Date.now() + paidYears * 365 * 86_400_000),
      telegramChatId: 500_000_000n,
    },
  });
  for (const bot of demoBots) await campaign.putBot({ bot: { ...bot, accountId: demoAccountId } });
  for (const [index, one] of demoCampaigns.entries()) {
    await campaign.putCampaign({ campaign: { ...one, accountId: demoAccountId, state: CampaignState.LIVE } });
    await campaign.putLeads({
      accountId: demoAccountId,
      campaignId: one.id,
      leads: demoLeads(index),
      scheduleFollowUps: false,
    });
  }
  writePrivate(options.seededPath, `${new Date().toISOString()}\n`);
  return true;
}

/** @returns the demo account's session token: the one of the last start while it is good, or else a new one. */
export async function demoSession(options: SeedOptions): Promise<string> {
  const account = createClient(
    AccountService,
    createRpcTransport({ baseUrl: options.accountUrl, token: options.token, tls: options.tls }),
  );
  const kept = readOr(options.sessionPath, "").trim();
  if (kept !== "" && (await isGood(kept))) return kept;
  const { token } = await account.createSession({ accountId: demoAccountId, ttlSeconds: sessionSeconds });
  writePrivate(options.sessionPath, `${token}\n`);
  return token;

  async function isGood(token: string): Promise<boolean> {
    try {
      await account.resolveSession({ token });
      return true;
    } catch (error) {
      if (reasonFromError(error).reason === ErrorReason.SESSION_INVALID) return false;
      throw error;
    }
  }
}
