import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { runMark } from "../../scripts/leftovers.ts";
import { createCustomer } from "../support/customer.ts";
import { type System, withSystem } from "../support/system.ts";

/** Six processes start for each test, on a machine that may be busy with others. */
setDefaultTimeout(120_000);

const root = join(import.meta.dirname, "../..");

/** Runs an example as its first comment says, and gives what it printed. */
async function run(name: string, env: Record<string, string>) {
  const { PATH = "", HOME = "", [runMark]: mark } = process.env;
  const child = Bun.spawn([process.execPath, `examples/${name}`], {
    cwd: root,
    env: { PATH, HOME, ...(mark === undefined ? {} : { [runMark]: mark }), ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { lines: stdout.trim().split("\n"), stderr, exitCode };
}

async function putAccount({ account }: System): Promise<bigint> {
  const { tariff } = await account.putTariff({ tariff: { name: "Examples", broadcasts: true } });
  const paidUntilTime = timestampFromMs(Date.now() + 86_400_000);
  const put = await account.putAccount({ account: { name: "Examples", tariffId: tariff!.id, paidUntilTime } });
  return put.account!.id;
}

describe("examples/rpc-client.ts", () => {
  test("puts what it says, watches its broadcast to the end, can be run again, and says why it is refused", () =>
    withSystem({}, async (system) => {
      const env = {
        ACCOUNT_ID: String(await putAccount(system)),
        LEADCAST_TOKEN: system.platformToken,
        CAMPAIGN_URL: system.urlOf("campaign"),
        BROADCAST_URL: system.urlOf("broadcast"),
      };
      const first = await run("rpc-client.ts", env);
      expect(first).toMatchObject({ stderr: "", exitCode: 0 });
      expect(first.lines.slice(0, 2)).toEqual([
        "20 leads are in campaign 9001",
        expect.stringMatching(/^broadcast \d+: 20 messages queued$/),
      ]);
      expect(first.lines.at(-1)).toBe("ended DONE: sent 20, failed 0");
      const record = await system.sandbox.messages({ limit: 100 });
      expect(record.map(({ text }) => text).sort()).toEqual(
        Array.from({ length: 20 }, (_, i) => `Hello Reader ${i + 1}, 20% off until Sunday`).sort(),
      );
      expect((await run("rpc-client.ts", env)).lines[0]).toBe("20 leads are in campaign 9001");

      const refused = await run("rpc-client.ts", { ...env, LEADCAST_TOKEN: "not-a-token-of-this-system" });
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toStartWith("UNAUTHENTICATED: ");
    }));
});

describe("examples/rest-client.ts", () => {
  test("sends a broadcast to the chosen campaigns, shows the day's limit, and says why it is refused", () =>
    withSystem({}, async (system) => {
      const { bots, session } = await createCustomer(system, { leadsPerBot: 15 });
      const done = await run("rest-client.ts", {
        LEADCAST_URL: system.urlOf("gateway"),
        LEADCAST_SESSION: session,
        LEADCAST_CAMPAIGNS: String(bots[0]!.campaignId),
      });
      expect(done).toMatchObject({ stderr: "", exitCode: 0 });
      expect(done.lines[0]).toMatch(/^broadcast \d+: 15 messages queued$/);
      expect(done.lines.slice(-2)).toEqual([
        "ended with status 2: sent 15, failed 0, dropped 0",
        "used today: 15 of as many as you like",
      ]);
      expect(await system.sandbox.totals()).toMatchObject({ accepted: 15, distinctChats: 15 });

      const refused = await run("rest-client.ts", { LEADCAST_URL: system.urlOf("gateway"), LEADCAST_SESSION: "none" });
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toStartWith("refused (key): ");
    }));
});
