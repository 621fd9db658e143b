import { describe, expect, test } from "bun:test";
import { demoCampaigns, demoLeads } from "#services/local/supervisor/demo-data.ts";

describe("demoLeads", () => {
  const leads = demoCampaigns.flatMap((_, index) => demoLeads(index));

  test("are 5,000 people with a chat each", () => {
    expect(leads).toHaveLength(5_000);
    expect(new Set(leads.map(({ chatId }) => chatId)).size).toBe(5_000);
  });

  test("stand in all five statuses alike", () => {
    const counts = Map.groupBy(leads, ({ status }) => status);
    expect([...counts.values()].map((group) => group.length)).toEqual([1_000, 1_000, 1_000, 1_000, 1_000]);
  });

  test("are the same every time", () => {
    expect(demoLeads(0)).toEqual(demoLeads(0));
  });
});
