/** The customer at work while everything breaks: pauses, cancels, resets, edits, deletes and starts, and leads that move. */
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import type { Cluster } from "./cluster.ts";
import { type Action, CANCELLED, DONE, type OwnedBot, type Owner, PAUSED, RestError, RUNNING } from "./owner.ts";
import type { Random } from "./random.ts";

export interface ActorOptions {
  cluster: Cluster;
  owner: Owner;
  random: Random;
  /** Its own small broadcasts go to these. */
  scope: OwnedBot[];
  /** Its leads enter and leave a status with a follow-up. */
  followUps: OwnedBot;
  /** The broadcast to everybody: begun anew, in a new generation, whenever it has ended. */
  main: number;
}

const BROADCASTS = 3;
const PAUSE_BETWEEN_MS = [100, 700] as const;
/** How long nothing may be claimed after Pause or Cancel has returned: long enough for a claim that was under way. */
const QUIET_MS = 150;

export class Actor {
  readonly #options: ActorOptions;
  /** What contradicts a promise, one sentence each. */
  readonly violations: string[] = [];
  /** How often each action was taken, and how often its state refused it. */
  readonly counts = new Map<string, number>();
  readonly #own: number[] = [];
  #stopped = false;
  #loops: Promise<void>[] = [];

  constructor(options: ActorOptions) {
    this.#options = options;
  }

  start(): void {
    const loops = [this.#actForever(), this.#moveLeadsForever(), this.#keepMainGoing()];
    this.#loops = loops.map((loop) =>
      loop.catch((error) => {
        this.violations.push(`The customer could not go on: ${error}`);
      }),
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #actForever(): Promise<void> {
    const { owner, scope, random } = this.#options;
    while (!this.#stopped) {
      if (this.#own.length < BROADCASTS) this.#own.push(await owner.createBroadcast(scope));
      const action = random.weighted<Action>({
        start: 8,
        pause: 4,
        resume: 4,
        cancel: 3,
        reset: 3,
        edit: 2,
        delete: 1,
      });
      await this.#act(action, random.int(0, this.#own.length - 1));
      await Bun.sleep(random.int(...PAUSE_BETWEEN_MS));
    }
  }

  async #act(action: Action, index: number): Promise<void> {
    const { owner, scope } = this.#options;
    const id = this.#own[index]!;
    try {
      if (action === "start") await owner.start(id, scope);
      else if (action === "edit") await owner.edit(id, scope);
      else await owner.act(action, id);
      this.#count(action);
      if (action === "delete") this.#own.splice(index, 1);
      if (action === "pause" || action === "cancel") await this.#expectQuiet(action, id);
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
      // A repeated call may find that its first try has worked, unseen.
      if (error.code === "access" && action === "delete") this.#own.splice(index, 1);
      else if (error.code !== "state") this.violations.push(`${action} was refused: ${error.message}`);
      this.#count(`${action}, refused`);
    }
  }

  /** Every claim counts one attempt, so their sum stands still when nothing is claimed. */
  async #expectQuiet(action: Action, id: number): Promise<void> {
    const { sql } = this.#options.cluster;
    const claims = async () =>
      await sql<{ state: number; claims: number }[]>`
        SELECT b.state, (SELECT coalesce(sum(attempts), 0)::int FROM send s WHERE s.source_id = b.source_id) AS claims
        FROM broadcast b WHERE b.id = ${id}`.catch(() => []);
    const [before] = await claims();
    await Bun.sleep(QUIET_MS);
    const [after] = await claims();
    if (before && after && after.state !== RUNNING && after.claims !== before.claims) {
      this.violations.push(
        `After ${action} of broadcast ${id} ${after.claims - before.claims} more sends were claimed.`,
      );
    }
  }

  async #moveLeadsForever(): Promise<void> {
    const { owner, followUps, random } = this.#options;
    while (!this.#stopped) {
      const status = random.chance(0.7) ? LeadStatus.HOLD : LeadStatus.WAIT;
      await owner.setStatus(followUps, random.pick(followUps.chats), status).catch(() => this.#count("move, failed"));
      this.#count("move");
      await Bun.sleep(random.int(5, 60));
    }
  }

  async #keepMainGoing(): Promise<void> {
    const { owner, main, random } = this.#options;
    while (!this.#stopped) {
      const state = (await owner.stateOf(main))?.state;
      const step = state === RUNNING ? (random.chance(0.05) ? "pause" : "wait") : MAIN_STEPS[state ?? 0]!;
      if (step === "start") await this.#ignoringState(() => owner.start(main));
      else if (step !== "wait") await this.#ignoringState(() => owner.act(step, main));
      await Bun.sleep(500);
    }
  }

  async #ignoringState(call: () => Promise<unknown>): Promise<void> {
    await call().catch((error) => {
      if (!(error instanceof RestError) || error.code !== "state") throw error;
    });
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Lets everything that is paused go on. @returns whether all that ran or waited has ended. */
  async settle(): Promise<boolean> {
    const { owner, main } = this.#options;
    let ended = true;
    for (const id of [...this.#own, main]) {
      const state = (await owner.stateOf(id))?.state;
      if (state === PAUSED) await owner.act("resume", id).catch(() => {});
      if (state === RUNNING || state === PAUSED) ended = false;
    }
    return ended;
  }
}

/** What leads from each state to a running broadcast. */
const MAIN_STEPS: Record<number, "start" | "reset" | "resume"> = {
  0: "start",
  [DONE]: "reset",
  [CANCELLED]: "start",
  [PAUSED]: "resume",
};
