/**
 * FUZZ_RUNS sets how many requests are made (default 1,500), FUZZ_SEED repeats a run. From 10,000 on time and memory are
 * asserted too: a shorter run says nothing about them on a machine that others use.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { png } from "#test/core/media/files.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { eventually } from "#test/support/eventually.ts";
import { type Customer, createCustomer } from "./customer.ts";
import { fingerprintOf } from "./dump.ts";
import { type FuzzRequest, fuzzRequests, type KnownIds } from "./fuzz-requests.ts";
import { createRestApi, envelopeOf } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

const runs = Number(process.env.FUZZ_RUNS ?? 1_500);
const seed = Number(process.env.FUZZ_SEED ?? 20_260_101);
const isFull = runs >= 10_000;
const slowestMs = 1_000;
/** Requests at once: enough that actions on one broadcast meet each other. */
const batch = 10;
/** What a full run may leave of garbage that is not collected yet. */
const growthBytes = 96 * 1024 * 1024;

let stack: Stack;
let customer: Customer;
let stranger: Customer;
let known: KnownIds;

beforeAll(async () => {
  stack = await createStack();
  customer = await createCustomer(stack, { statuses: [0, 1, 2, 3, 4], leads: 50, flows: true, dailyCap: 5_000 });
  stranger = await createCustomer(stack);
  const api = createRestApi(stack.gateway, customer.session);
  const theirs = createRestApi(stack.gateway, stranger.session);
  const broadcasts: number[] = [];
  for (let i = 0; i < 9; i++) broadcasts.push(i % 3 === 0 ? await api.running() : await api.draft());
  const { media } = await api.ok("POST media/upload", { file: png({ seed: 1 }) });
  known = {
    campaigns: customer.campaignIds,
    broadcasts,
    foreign: [stranger.campaignId, await theirs.draft(), 8_000_000_000],
    media: [String(media)],
  };
});
afterAll(() => stack.stop());

/** The bytes that the collector cannot free. */
function heapBytes(): number {
  Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

/** Deleted broadcasts become drafts again under their ids: otherwise most of a long run would meet nothing but `access`. */
async function bringBack(): Promise<void> {
  const text = "Again";
  await stack.sql`
    INSERT INTO broadcast (id, account_id, source_id, statuses, text, parsed)
    SELECT k, ${Number(customer.accountId)}, nextval('source_id_seq'), 31, ${text}, ${stack.sql.json({ text, entities: [] })}
    FROM unnest(${[...known.broadcasts]}::bigint[]) AS k ON CONFLICT (id) DO NOTHING`;
}

interface Tally {
  outcomes: Record<string, number>;
  slowest: number;
  slowestCall: string;
  durations: number[];
}

/** Below paths that do not end in `.json` the same envelope comes with HTTP's own code. */
function withHttpStatus200(reply: Response, path: string): Response {
  if (path.split("?")[0]!.endsWith(".json")) return reply;
  expect(reply.status).toBeGreaterThanOrEqual(400);
  return new Response(reply.body);
}

/** These may be kept back for a second on purpose, so that nobody asks in a tight loop; their time says nothing. */
const heldBack = new Set(["limit", "key"]);

function noteDuration(tally: Tally, tookMs: number, call: string): void {
  if (tookMs > tally.slowest) Object.assign(tally, { slowest: tookMs, slowestCall: call });
  tally.durations.push(tookMs);
}

async function ask(request: FuzzRequest, tally: Tally): Promise<void> {
  const startedAt = performance.now();
  const { method, headers, body } = request;
  const reply = await stack.gateway.handle(new Request(`http://localhost${request.path}`, { method, headers, body }));
  const { status, error } = await envelopeOf(withHttpStatus200(reply, request.path));
  const tookMs = performance.now() - startedAt;
  const outcome = error ?? status;
  tally.outcomes[outcome] = (tally.outcomes[outcome] ?? 0) + 1;
  if (!heldBack.has(outcome)) noteDuration(tally, tookMs, `${method} ${request.path.split("?")[0]}`);
  expect(outcome).not.toBe("db");
}

test(
  `answers ${runs} requests that nobody means with documented envelopes, and keeps every sum right`,
  async () => {
    const before = await fingerprintOf(stack.sql, [stranger.accountId]);
    const tally: Tally = { outcomes: {}, slowest: 0, slowestCall: "", durations: [] };
    const requests = fc.array(fuzzRequests(customer.session, known), { minLength: batch, maxLength: batch });
    const halfway = Math.ceil(runs / batch / 2);
    let round = 0;
    let heapThen = 0;
    const property = fc.asyncProperty(requests, async (many) => {
      if (++round === halfway) heapThen = heapBytes();
      await Promise.all(many.map((request) => ask(request, tally)));
      await bringBack();
    });
    await fc.assert(property, { numRuns: Math.ceil(runs / batch), seed, endOnFailure: true });

    const heapGrowth = heapBytes() - heapThen;
    const sorted = tally.durations.sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(sorted.length * share)]!.toFixed(1);
    console.log(
      `fuzz: ${runs} requests, seed ${seed}, ${JSON.stringify(tally.outcomes)}, ms p50 ${at(0.5)} p99 ${at(0.99)} ` +
        `max ${tally.slowest.toFixed(0)} (${tally.slowestCall}), heap ${(heapGrowth / 2 ** 20).toFixed(1)} MB more than halfway through`,
    );
    expect(Object.keys(tally.outcomes)).toEqual(expect.arrayContaining(["ok", "key", "func", "access", "state"]));
    expect(stack.errors).toEqual([]);
    expect(await fingerprintOf(stack.sql, [stranger.accountId])).toBe(before);
    await expectConsistent(stack.sql, { quota: false });
    await expectQuotaIsWhatWasSent();
    if (!isFull) return;
    expect(heapGrowth).toBeLessThan(growthBytes);
    expect(tally.slowest).toBeLessThan(slowestMs);
  },
  { timeout: 600_000 },
);

/** Nothing is refused or lost here, so what the day has used is what the Bot API has taken. */
async function expectQuotaIsWhatWasSent(): Promise<void> {
  await eventually(async () => (await stack.sql`SELECT 1 FROM send WHERE state = 1`).length === 0);
  const [day] =
    await stack.sql`SELECT sum(used)::int AS used FROM quota_day WHERE account_id = ${Number(customer.accountId)}`;
  const { accepted } = await stack.sandbox.control.bot(customer.botNumber);
  expect(accepted).toBeGreaterThan(0);
  expect(day!.used).toBe(accepted);
}
