/**
 * Whether a bot's token gets out where the Bot API fails: the real processes meet each fault of the transport with sends,
 * previews, probes and webhooks, and then everything that they have written and answered is searched.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { connect } from "nats";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import type { Answer } from "#services/local/sandbox/script.ts";
import { eventually } from "../../support/eventually.ts";
import { type Cluster, startCluster } from "../cluster.ts";
import { type FaultyAnswer, type FaultyBotApi, startFaultyBotApi } from "./faulty-bot-api.ts";
import { hitsIn, needlesOf } from "./needles.ts";
import type { Scenario, ScenarioOptions, ScenarioReport } from "./scenario.ts";

/** Where the Bot API is said to be, and what happens there. */
type Fault = { at: "sandbox"; answer: Answer } | { at: "faulty"; answer: FaultyAnswer } | { at: string };

const FAULTS: Record<string, Fault> = {
  // Nobody listens there: such a low port is never given out.
  refused: { at: "http://127.0.0.1:1" },
  "cut before it was accepted": { at: "sandbox", answer: { cut: true } },
  "cut after it was accepted": { at: "sandbox", answer: { cut: true, accepted: true } },
  "no answer": { at: "sandbox", answer: { hang: true } },
  garbage: { at: "faulty", answer: "garbage" },
  redirect: { at: "faulty", answer: "redirect" },
  "token refused": { at: "sandbox", answer: { error: "unauthorized" } },
  "502 with a page": { at: "faulty", answer: "page" },
  "502 that quotes the URL": { at: "faulty", answer: "quoted" },
  "no such host": { at: "http://bot-api.invalid" },
  "no TLS there": { at: "https" },
};
/** The others are left to the long run. */
const KEPT_WHEN_SHORT = ["refused", "redirect", "502 that quotes the URL"];

/** Three lost sends in a row open a breaker, and its first probe is a getMe. */
const LEADS_PER_BOT = 5;
const PROBE_MS = 1_500;
const LANE_TIMEOUT_MS = 60_000;
/** What is kept of a process's output; more would have been forgotten. */
const KEPT_CHARACTERS = 60_000;

type Places = Record<"logs" | "rpc" | "rest" | "metrics" | "database" | "nats", string>;
const NOWHERE: Places = { logs: "", rpc: "", rest: "", metrics: "", database: "", nats: "" };

export const leak: Scenario = { variants: ["transport"], run: runLeak };

async function runLeak(options: ScenarioOptions): Promise<ScenarioReport> {
  const faulty = startFaultyBotApi();
  const root = { url: faulty.url };
  const serviceToken = tokenOf(900, options.seed, 35);
  const cluster = await startCluster({
    delivery: 1,
    broadcast: 1,
    ownPostgres: !options.short,
    environment: (name, urlOf) => environmentOf(name, urlOf, root.url, serviceToken),
  });
  try {
    // It was started before there was a delivery whose address it could have been told.
    await restart(cluster, "campaign");
    return await new Search(cluster, faulty, root, serviceToken, options).run();
  } finally {
    await cluster.stop();
    await faulty.stop();
  }
}

function environmentOf(
  name: string,
  urlOf: (name: string) => string | undefined,
  apiRoot: string,
  serviceToken: string,
): Record<string, string> {
  // The processes have one level of logging; what the Bot API client would say beyond that is asked for as well.
  const verbose = { DEBUG: "*" };
  const delivery = urlOf("delivery-1");
  if (name === "campaign" && delivery !== undefined) return { ...verbose, DELIVERY_URL: delivery };
  if (!name.startsWith("delivery")) return verbose;
  return {
    ...verbose,
    TELEGRAM_API_ROOT: apiRoot,
    SERVICE_BOT_TOKEN: serviceToken,
    PUBLIC_URL: "https://leadcast.invalid",
  };
}

async function restart(cluster: Cluster, name: string): Promise<void> {
  await cluster.sigterm(name);
  await cluster.start(name);
}

/** Looks like one of BotFather's where its secret half is 35 characters long; the log's own net catches only such. */
function tokenOf(id: number, seed: number, length: number): string {
  const hash = new Bun.CryptoHasher("sha256").update(`${id}:${seed}:${length}`).digest("base64url");
  return `${8_100_000 + id}:${`AA${hash}`.slice(0, length)}`;
}

/** One account of the customer's, with what its calls need. */
interface Customer {
  accountId: bigint;
  session: string;
}

class Search {
  readonly #cluster: Cluster;
  readonly #faulty: FaultyBotApi;
  readonly #root: { url: string };
  readonly #serviceToken: string;
  readonly #options: ScenarioOptions;
  readonly #violations: string[] = [];
  /** What the calls of the present fault were answered. */
  #said: Places = { ...NOWHERE };
  #traffic = "";
  #nextBot = 1;

  constructor(
    cluster: Cluster,
    faulty: FaultyBotApi,
    root: { url: string },
    serviceToken: string,
    options: ScenarioOptions,
  ) {
    this.#cluster = cluster;
    this.#faulty = faulty;
    this.#root = root;
    this.#serviceToken = serviceToken;
    this.#options = options;
  }

  async run(): Promise<ScenarioReport> {
    const nc = await connect({ servers: this.#cluster.nats.url });
    nc.subscribe(">", {
      callback: (_error, message) => {
        this.#traffic += `${message.subject} ${Buffer.from(message.data).toString("latin1")}\n`;
      },
    });
    const [owner, other] = [await this.#createCustomer(), await this.#createCustomer()];
    const details: string[] = [];
    const figures: Record<string, number> = {};
    const names = Object.keys(FAULTS).filter((name) => !this.#options.short || KEPT_WHEN_SHORT.includes(name));
    for (const name of names) {
      const tokens = await this.#meet(FAULTS[name]!, owner, other);
      const hits = await this.#count([...tokens, this.#serviceToken]);
      const total = Object.values(hits).reduce((sum, n) => sum + n, 0);
      figures[name] = total;
      const told = Object.entries(hits).map(([place, n]) => `${place} ${n}`);
      details.push(`${name.padEnd(28)}${told.join("  ")}`);
      if (total > 0) this.#violations.push(`After "${name}" a token stands in ${told.join(", ")}.`);
    }
    await nc.close();
    return { figures, violations: this.#violations, details };
  }

  async #createCustomer(): Promise<Customer> {
    const { account } = this.#cluster;
    const { tariff } = await account.putTariff({ tariff: { name: "leak", broadcasts: true } });
    const paidUntilTime = timestampFromMs(Date.now() + 86_400_000);
    const { account: made } = await account.putAccount({
      account: { name: "leak", tariffId: tariff!.id, telegramChatId: 77n, paidUntilTime },
    });
    const { token } = await account.createSession({ accountId: made!.id });
    return { accountId: made!.id, session: token };
  }

  /** Everything that reaches the Bot API, once each, while it fails so. @returns the tokens that were used. */
  async #meet(fault: Fault, owner: Customer, other: Customer): Promise<string[]> {
    this.#said = { ...NOWHERE };
    await this.#break(fault);
    const bots = [35, 24].map((length) => {
      const id = this.#nextBot++;
      return { id: BigInt(id), token: tokenOf(id, this.#options.seed, length) };
    });
    const { delivery } = this.#cluster;
    const webhooks = await Promise.all(bots.map((bot) => this.#addBot(owner, bot)));
    const broadcast = await this.#startBroadcast(owner, webhooks.map(String));
    const preview = { accountId: other.accountId, chatId: 77n, text: "hi", button: "", link: "" };
    await Promise.all([
      this.#rest(owner, "broadcast/test.json", { id: broadcast }),
      this.#rpc(() => delivery.sendPreview(preview)),
      ...bots.map(({ id }) => this.#rpc(() => delivery.setWebhook({ botId: id }))),
      this.#untilHeld(bots.map(({ id }) => id)),
    ]);
    await Bun.sleep(PROBE_MS);
    await this.#rpc(() => delivery.listLanes({}));
    for (const path of ["broadcast/get.json", "broadcast/progress.json"]) {
      await this.#rest(owner, `${path}?id=${broadcast}`);
    }
    await this.#rest(owner, "broadcast/cancel.json", { id: broadcast });
    return bots.map(({ token }) => token);
  }

  async #break(fault: Fault): Promise<void> {
    const { sandbox, sql, urlOf } = this.#cluster;
    await sandbox.unscript();
    // Three bots' breakers within half a minute would let one bot try for all: here each token must be used.
    await sql`DELETE FROM lane`;
    if (fault.at === "sandbox" && "answer" in fault) {
      await sandbox.script({ method: "*", answer: fault.answer as Answer });
      this.#root.url = urlOf("sandbox");
    } else if (fault.at === "faulty" && "answer" in fault) {
      this.#faulty.answer = fault.answer as FaultyAnswer;
      this.#root.url = this.#faulty.url;
    } else this.#root.url = fault.at === "https" ? `https://127.0.0.1:${this.#faulty.port}` : fault.at;
    await restart(this.#cluster, "delivery-1");
  }

  /** PutBot asks for the webhook, which fails; the bot is stored by then. @returns its campaign. */
  async #addBot({ accountId }: Customer, bot: { id: bigint; token: string }): Promise<bigint> {
    const { campaign } = this.#cluster;
    const { id, token } = bot;
    await this.#rpc(() => campaign.putBot({ bot: { id, accountId, token, username: `b${id}` }, setWebhook: true }));
    const { campaign: made } = await campaign.putCampaign({
      campaign: { accountId, botId: id, name: "leak", code: "L", state: CampaignState.LIVE },
    });
    const leads = Array.from({ length: LEADS_PER_BOT }, (_, i) => ({
      chatId: id * 1_000n + BigInt(i),
      status: 1,
      statusTime: timestampFromMs(Date.now() - 60_000),
    }));
    await campaign.putLeads({ accountId, campaignId: made!.id, leads });
    return made!.id;
  }

  async #startBroadcast(owner: Customer, campaigns: readonly string[]): Promise<string> {
    const { data } = (await this.#rest(owner, "broadcast/add.json", { name: "leak" })) as { data: { id: number } };
    const id = String(data.id);
    const body = { id, name: "leak", statuses: "31", campaigns: campaigns.join(","), text: "Hello {user}" };
    await this.#rest(owner, "broadcast/edit.json", body);
    await this.#rest(owner, "broadcast/start.json", { id });
    return id;
  }

  /** Every one of these bots has stopped: its breaker is open, or its token is dead. */
  async #untilHeld(ids: readonly bigint[]): Promise<void> {
    const { sql } = this.#cluster;
    await eventually(
      async () => {
        const [row] = await sql<{ held: number }[]>`
          SELECT count(DISTINCT bot_id)::int AS held FROM lane WHERE bot_id = ANY(${ids.map(Number)}::bigint[])`;
        return row!.held === ids.length;
      },
      { timeoutMs: LANE_TIMEOUT_MS },
    );
  }

  async #rest({ session }: Customer, path: string, form?: Record<string, string>): Promise<unknown> {
    const reply = await fetch(`${this.#cluster.gatewayUrl}/api/${path}`, {
      headers: { Authorization: `Bearer ${session}` },
      ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
    });
    const text = await reply.text();
    this.#said.rest += `${path} ${JSON.stringify([...reply.headers])} ${text}\n`;
    return JSON.parse(text) as unknown;
  }

  /** What a caller sees of it, to the last property of an error. */
  async #rpc(call: () => Promise<unknown>): Promise<void> {
    const outcome = await call().catch((error: unknown) => error);
    this.#said.rpc += `${Bun.inspect(outcome, { depth: 10 })}\n`;
  }

  async #count(tokens: readonly string[]): Promise<Record<keyof Places, number>> {
    const places: Places = {
      ...this.#said,
      logs: this.#logs(),
      metrics: await this.#metrics(),
      database: await this.#database(),
      nats: this.#traffic,
    };
    this.#checkThatItWasHeard(places);
    const needles = [...new Set(tokens.flatMap(needlesOf))];
    const hits = Object.entries(places).map(([place, text]) => [place, hitsIn(text, needles)]);
    return Object.fromEntries(hits) as Record<keyof Places, number>;
  }

  /** A search of nothing finds nothing. */
  #checkThatItWasHeard(places: Places): void {
    for (const [place, text] of Object.entries(places)) {
      if (text === "") this.#violations.push(`Nothing was found to search in ${place}.`);
    }
  }

  #logs(): string {
    const { names, output, folder } = this.#cluster;
    const outputs = names().map((name) => {
      if (output(name).length > KEPT_CHARACTERS) this.#violations.push(`${name} printed more than is kept.`);
      return output(name);
    });
    const log = join(folder, "postgres.log");
    return [...outputs, existsSync(log) ? readFileSync(log, "utf8") : ""].join("\n");
  }

  async #metrics(): Promise<string> {
    const { names, metricsUrlOf } = this.#cluster;
    const serving = names().filter((name) => name !== "sandbox");
    const texts = await Promise.all(serving.map(async (name) => await (await fetch(metricsUrlOf(name)!)).text()));
    return texts.join("\n");
  }

  /** Every row of every table as text, bytes in hexadecimal, and what Postgres shows of its clients' statements. */
  async #database(): Promise<string> {
    const { sql } = this.#cluster;
    const tables = await sql<{ name: string }[]>`
      SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
      WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`;
    const texts: string[] = [];
    for (const { name } of [...tables, { name: "pg_stat_activity" }]) {
      const rows = await sql.unsafe<{ text: string }[]>(`SELECT t::text AS text FROM ${name} t`);
      texts.push(`${name}: ${rows.map(({ text }) => text).join("\n")}`);
    }
    return texts.join("\n");
  }
}
