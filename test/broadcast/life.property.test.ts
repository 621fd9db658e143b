/** Random lives of a broadcast on a real Postgres, step by step beside a model that fits on a page. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { rescueSends } from "#services/core/ledger/rescue.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { type SendResult, settleSends, ticketOf } from "#services/core/ledger/settle.ts";
import { DomainError } from "#services/platform/domain-error.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { broadcastJob, claimedOf, createWorld, type LeadRow, type World } from "#test/support/world.ts";
import { type LeadState, type LifeState, Model } from "./model.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const lives: LifeState[] = ["draft", "running", "done", "cancelled", "paused"];
const states: LeadState[] = ["queued", "sending", "sent", "failed", "unconfirmed", "dropped"];

/** The system under test, and what a delivery would remember. */
interface Real {
  world: World;
  id: number;
  cap: number;
  /** Beside `model.onTheWire`, in the same order. */
  wire: ClaimedSend[];
}

type Step = fc.AsyncCommand<Model, Real>;

/** One step; afterwards the whole database must agree with itself and with the model. */
abstract class Base implements Step {
  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.act(model, real);
    await expectConsistent(real.world.sql);
    await expectSame(model, real);
  }

  protected abstract act(model: Model, real: Real): Promise<void>;

  abstract toString(): string;
}

async function expectSame(model: Model, real: Real): Promise<void> {
  const { world, id } = real;
  expect(await world.used()).toBe(model.used);
  if (model.life === "deleted") {
    expect(await world.sql`SELECT FROM broadcast WHERE id = ${id}`).toHaveLength(0);
    return;
  }
  const broadcast = await world.broadcast(id);
  expect(lives[broadcast.state]).toBe(model.life);
  const open = model.isOpen ? broadcast.run : undefined;
  const rows = await world.rows(id);
  const ledger = rows.map((row) => [row.leadId, row.state === 0 && row.run !== open ? "dropped" : states[row.state]]);
  expect(ledger).toEqual([...model.ledger].sort(([a], [b]) => a - b));
}

type LifeAction = "start" | "pause" | "resume" | "cancel" | "reset" | "remove";

const actions = {
  start: lifeCycle.startBroadcast,
  pause: lifeCycle.pauseBroadcast,
  resume: lifeCycle.resumeBroadcast,
  cancel: lifeCycle.cancelBroadcast,
  reset: lifeCycle.resetBroadcast,
  remove: lifeCycle.deleteBroadcast,
} satisfies Record<LifeAction, unknown>;

class Act extends Base {
  readonly #action: LifeAction;

  constructor(action: LifeAction) {
    super();
    this.#action = action;
  }

  protected override async act(model: Model, { world, id }: Real): Promise<void> {
    const outcome = await actions[this.#action](world.sql, world.accountId, id).catch((error: unknown) => {
      if (error instanceof DomainError) return "refused";
      throw error;
    });
    expect(outcome).toBe(model[this.#action]() as typeof outcome);
  }

  override toString = () => this.#action;
}

class Review extends Base {
  protected override async act(model: Model, { world, id }: Real): Promise<void> {
    await lifeCycle.reviewBroadcast(world.sql, world.accountId, id);
    model.review();
  }

  override toString = () => "review";
}

/** Jobs for up to n leads from some lead on, queued or not, as a stream that may be stale would bring them. */
class Claim extends Base {
  readonly #from: number;
  readonly #n: number;

  constructor(from: number, n: number) {
    super();
    this.#from = from;
    this.#n = n;
  }

  protected override async act(model: Model, real: Real): Promise<void> {
    const { world, id, cap } = real;
    if (model.life === "deleted") return;
    const from = this.#from % world.leads.length;
    const { sourceId } = await world.broadcast(id);
    const leads = world.leads.slice(from, from + this.#n);
    const jobs = leads.map((lead) => broadcastJob(sourceId, lead));
    const answers = await world.claim([...jobs, ...jobs.slice(0, 2)]);
    const expected = model.claim(
      leads.map((lead) => lead.id),
      cap,
    );
    const claimed = claimedOf(answers);
    expect(claimed.map((send) => send.leadId)).toEqual(expected);
    real.wire.push(...claimed);
  }

  override toString = () => `claim ${this.#n} from ${this.#from}`;
}

const results: Record<SendResult["result"], SendResult> = {
  sent: { result: "sent", messageId: 1 },
  failed: { result: "failed", reason: SendReason.cannotSend, leaves: false },
  bodyFault: { result: "putBack", reason: SendReason.rateLimited },
  unconfirmed: { result: "unconfirmed", reason: SendReason.timeout },
  putBack: { result: "putBack", reason: SendReason.connectionRefused },
};

/** Settles some of what is on the wire, each with a result of its own, in one batch; twice, as one that is unsure would. */
class Settle extends Base {
  readonly #picks: [index: number, result: SendResult["result"]][];

  constructor(picks: [number, SendResult["result"]][]) {
    super();
    this.#picks = picks;
  }

  protected override async act(model: Model, real: Real): Promise<void> {
    const settlements = [];
    for (const [index, result] of this.#picks) {
      if (model.onTheWire.length === 0) break;
      const i = index % model.onTheWire.length;
      settlements.push({ ticket: ticketOf(real.wire.splice(i, 1)[0]!), result: results[result] });
      model.settle(model.onTheWire[i]!, result);
    }
    await settleSends(settlements, real.world);
    await settleSends(settlements, real.world);
  }

  override toString = () => `settle ${this.#picks.map(([index, result]) => `${index}:${result}`).join(" ")}`;
}

class Rescue extends Base {
  protected override async act(model: Model, { world }: Real): Promise<void> {
    await world.sql`UPDATE send SET rescue_at = now() - interval '1 s' WHERE state = 1`;
    await rescueSends(world.sql);
    model.rescue();
    // Their results may still come; an unconfirmed one that is settled as unconfirmed stays what it is.
  }

  override toString = () => "rescue";
}

class NewLeads extends Base {
  protected override async act(model: Model, { world }: Real): Promise<void> {
    for (const status of [0, 1]) know(model, await world.addLeads(2, { status }), status);
  }

  override toString = () => "new leads";
}

/** Edits the filters: the next Start is for other leads, and those it leaves stay parked in a closed run. */
class Filter extends Base {
  readonly #mask: number;

  constructor(mask: number) {
    super();
    this.#mask = mask;
  }

  protected override async act(model: Model, { world, id }: Real): Promise<void> {
    await world.sql`UPDATE broadcast SET statuses = ${this.#mask} WHERE id = ${id}`;
    model.mask = this.#mask;
  }

  override toString = () => `filter ${this.#mask}`;
}

class OptOut extends Base {
  readonly #index: number;

  constructor(index: number) {
    super();
    this.#index = index;
  }

  protected override async act(model: Model, { world }: Real): Promise<void> {
    const { id } = world.leads[this.#index % world.leads.length]!;
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${id}`;
    model.reachable.delete(id);
  }

  override toString = () => `opt out ${this.#index}`;
}

function know(model: Model, leads: LeadRow[], status: number): void {
  for (const { id } of leads) {
    model.reachable.add(id);
    model.status.set(id, status);
  }
}

const nat = fc.nat({ max: 30 });
const result = fc.constantFrom<SendResult["result"]>("sent", "sent", "failed", "unconfirmed", "putBack");
const steps: fc.Arbitrary<Step>[] = [
  fc.constantFrom<LifeAction>("start", "start", "pause", "resume", "resume", "cancel").map((action) => new Act(action)),
  fc.constantFrom<LifeAction>("start", "resume", "reset", "reset", "reset", "remove").map((action) => new Act(action)),
  fc.tuple(nat, fc.integer({ min: 1, max: 12 })).map(([from, n]) => new Claim(from, n)),
  fc.constant(new Claim(0, 30)),
  fc.array(fc.tuple(nat, result), { minLength: 1, maxLength: 10 }).map((picks) => new Settle(picks)),
  fc.array(fc.tuple(nat, result), { minLength: 10, maxLength: 30 }).map((picks) => new Settle(picks)),
  fc.constant(new Review()),
  fc.constant(new Rescue()),
  fc.constant(new NewLeads()),
  fc.constantFrom(1, 2, 31).map((mask) => new Filter(mask)),
  nat.map((index) => new OptOut(index)),
];

async function createSubject(cap: number): Promise<{ model: Model; real: Real }> {
  const world = await createWorld(database.sql, { bots: 2, dailyCap: cap });
  const id = await world.addBroadcast();
  const model = new Model();
  for (const status of [0, 1]) know(model, await world.addLeads(4, { status }), status);
  return { model, real: { world, id, cap, wire: [] } };
}

describe("a broadcast", () => {
  test("lives as its model does, whatever is done to it", async () => {
    const lives = fc.commands(steps, { maxCommands: 40, size: "max" });
    const property = fc.asyncProperty(lives, fc.constantFrom(0, 5), async (commands, cap) => {
      await fc.asyncModelRun(() => createSubject(cap), commands);
    });
    await fc.assert(property, { numRuns: 30, endOnFailure: true });
  });
});
