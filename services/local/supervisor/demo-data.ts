/** The demo account's people: the same at every run, so that seeding again changes nothing. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";

export const demoTariff = { id: 1n, name: "Demo", broadcasts: true, dailyCap: 0 };
export const demoAccountId = 1n;
export const demoBots = [
  { id: 1n, username: "leadcast_spring_bot", token: "7010001:sandbox-token-of-the-leadcast-spring-bot" },
  { id: 2n, username: "leadcast_autumn_bot", token: "7010002:sandbox-token-of-the-leadcast-autumn-bot" },
];
export const demoCampaigns = [
  { id: 1n, botId: 1n, name: "Spring", code: "spring", trackedChatId: -1001000000001n },
  { id: 2n, botId: 2n, name: "Autumn", code: "autumn", trackedChatId: -1001000000002n },
];
export const leadsPerCampaign = 2_500;

/** 2026-01-01T00:00:00Z: when the first lead came. */
const firstMs = Date.UTC(2026, 0, 1);
const statuses = [LeadStatus.WAIT, LeadStatus.HOLD, LeadStatus.APPROVE, LeadStatus.CANCEL, LeadStatus.TRASH];
const givenNames = ["Ada", "Ben", "Chloe", "Dario", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Liam"];
const familyNames = ["Adler", "Brook", "Costa", "Diaz", "Evans", "Fox", "Gold", "Hart", "Ivers", "Jansen", "Klein"];

/** The leads of one demo campaign, one a minute, the five statuses in turn, each chat used once in all campaigns. */
export function demoLeads(campaignIndex: number) {
  return Array.from({ length: leadsPerCampaign }, (_, index) => {
    const number = campaignIndex * leadsPerCampaign + index;
    const given = givenNames[number % givenNames.length]!;
    const family = familyNames[number % familyNames.length]!;
    const createdMs = firstMs + number * 60_000;
    return {
      chatId: BigInt(500_000_000 + number),
      status: statuses[number % statuses.length]!,
      createTime: timestampFromMs(createdMs),
      statusTime: timestampFromMs(createdMs + 3_600_000),
      click: `c${(number * 2_654_435_761) % 4_294_967_296}`,
      user: `${given} ${family}`,
      subscriber: `s${number + 1}`,
      username: number % 4 === 3 ? "" : `${given}_${family}_${number}`.toLowerCase(),
    };
  });
}
