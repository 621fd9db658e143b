/**
 * Notices connections whose answers do not come any more although TCP still holds them open (a NAT entry that died, a host that
 * was failed over, a frozen proxy), and gives them up. Without it a statement on such a connection hangs for many minutes.
 *
 * Silence alone proves nothing: a Start of a million leads is silent for as long as it takes, and a statement may wait for a lock.
 * So Postgres is asked, on a new connection, what the silent connection's backend does:
 *
 * ```
 *            awaits an answer          silent for 4 s: ask          the backend waits for us, or is gone
 *   quiet ────────────────────► silent ────────────────► suspect ──────────────────────────────────────► accused
 *     ▲                           ▲                        │  it works, or nobody can say                   │ the same 1 s later
 *     │ answered, or a byte came  └────────────────────────┘                                                ▼
 *     └──────────────────────────────────── from every state ◄────────────────────────────────────────    lost
 * ```
 *
 * Invariants:
 * 1. Only a connection from which not one byte came between the first suspicion and the verdict is lost: between two questions
 *    to Postgres an answer that was merely under way arrives.
 * 2. What is lost is closed as if the other side had closed it: what was under way on it fails with CONNECTION_CLOSED, and nothing
 *    is run a second time. A transaction fails with its connection. Whether it was committed is not known.
 * 3. The other connections go on, but for idle ones that have said nothing since: they are likely to be as dead, and closing them
 *    fails nobody. Otherwise each would cost the next statement the same wait.
 * 4. The backend that was left behind is ended on the server, so that a transaction nobody can finish holds no locks.
 * 5. While Postgres takes no new connection, or cannot say (a pooler stands between), a silent connection is kept for `patienceMs`.
 */

/** One connection of the client, as patches/postgres@3.4.9.patch shows it. */
export interface WatchedConnection {
  /** Rises with everything that comes. */
  readonly heard: number;
  /** Bytes that are not written yet. */
  readonly unsent: number;
  /** Its backend's; null before the first connection was made. */
  readonly pid: number | null;
  /** Whether it is Postgres' turn. */
  readonly awaits: boolean;
  /** Whether it is open and belongs to nobody. */
  readonly idle: boolean;
  /** Closes it and fails what is under way. Nothing if it is closed. */
  lose(): void;
}

export interface Backend {
  pid: number;
  /** Since when it exists, at most a look off. */
  ageMs: number;
}

/** `waiting`: for its client. `unknown`: Postgres cannot see it, or does not say. */
export type Doing = "working" | "waiting" | "gone" | "unknown";

export interface WatchdogOptions {
  monotonicMs: () => number;
  /** What each backend does now, in order. Rejects if Postgres cannot be asked. */
  ask: (backends: readonly Backend[]) => Promise<Doing[]>;
  /** Ends those of them that still wait for their client. */
  dismiss: (backends: readonly Backend[]) => Promise<void>;
  /** How long a connection may be silent that nobody can say anything about. */
  patienceMs: number;
}

/** Time between two looks: what the watch over healthy connections costs is one pass over their counters. */
export const LOOK_INTERVAL_MS = 1_000;
/** More than nearly every statement takes, so that Postgres is seldom asked. */
const SUSPECT_AFTER_MS = 4_000;
/** An answer that was under way when Postgres was asked has come by then. */
const CONFIRM_AFTER_MS = 1_000;
/** Between questions about one that works. */
const ASK_AGAIN_MS = 5_000;

interface Watched {
  readonly connection: WatchedConnection;
  heard: number;
  unsent: number;
  /** When either last changed. */
  movedAt: number;
  pid: number | null;
  bornAt: number;
  silentSince: number | undefined;
  askAt: number;
  accused: boolean;
}

type Silent = Watched & { silentSince: number };

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #watched: Watched[] = [];
  #asking = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  watch(connection: WatchedConnection): void {
    const now = this.#options.monotonicMs();
    const { heard, unsent, pid } = connection;
    const fresh = { bornAt: now, movedAt: now, silentSince: undefined, askAt: 0, accused: false };
    this.#watched.push({ connection, heard, unsent, pid, ...fresh });
  }

  /** One round, every `LOOK_INTERVAL_MS`. Never rejects; resolves when what it asked is answered and done. */
  async look(): Promise<void> {
    const now = this.#options.monotonicMs();
    for (const watched of this.#watched) note(watched, now);
    if (this.#asking) return;
    const suspects = this.#watched.filter(
      (one): one is Silent =>
        one.silentSince !== undefined && now >= one.silentSince + SUSPECT_AFTER_MS && now >= one.askAt,
    );
    if (suspects.length === 0) return;
    this.#asking = true;
    await this.#judge(suspects).finally(() => {
      this.#asking = false;
    });
  }

  /** Closes what is still open: its process is done with it. */
  loseAll(): void {
    for (const { connection } of this.#watched) connection.lose();
  }

  async #judge(suspects: readonly Silent[]): Promise<void> {
    const { ask, monotonicMs } = this.#options;
    const since = suspects.map((one) => one.silentSince);
    const answers = await ask(suspects.map((one) => backendOf(one, monotonicMs()))).catch(() => undefined);
    const now = monotonicMs();
    const doings = suspects.map((one, i) => {
      note(one, now);
      return one.silentSince === since[i] ? (answers?.[i] ?? "unknown") : undefined;
    });
    const lost = suspects.filter((one, i) => doings[i] !== undefined && this.#isLost(one, doings[i], now));
    if (lost.length === 0) return;
    const seen = lost.some((one) => doings[suspects.indexOf(one)] !== "unknown");
    await this.#lose(lost, seen);
  }

  /** Takes Postgres' answer down, and says whether it was enough. */
  #isLost(one: Silent, doing: Doing, now: number): boolean {
    const wasAccused = one.accused;
    one.accused = doing === "waiting" || doing === "gone";
    one.askAt = now + (doing === "working" ? ASK_AGAIN_MS : CONFIRM_AFTER_MS);
    if (doing === "unknown") return now >= one.silentSince + this.#options.patienceMs;
    return wasAccused && one.accused;
  }

  /** @param seen whether Postgres itself could see them. Behind a pooler a pid may be that of somebody else's backend. */
  async #lose(lost: readonly Silent[], seen: boolean): Promise<void> {
    const now = this.#options.monotonicMs();
    const since = Math.min(...lost.map((one) => one.silentSince));
    const asDead = this.#watched.filter((one) => one.connection.idle && one.movedAt <= since);
    const all = [...lost, ...asDead];
    const backends = all.map((one) => backendOf(one, now));
    for (const one of all) {
      one.connection.lose();
      note(one, now);
    }
    if (seen) await this.#options.dismiss(backends).catch(() => {});
  }
}

/** Brings what is known of a connection up to date. */
function note(watched: Watched, now: number): void {
  const { heard, unsent, pid, awaits } = watched.connection;
  if (pid !== watched.pid) {
    watched.pid = pid;
    watched.bornAt = now;
  }
  const moved = heard !== watched.heard || unsent !== watched.unsent;
  if (moved) {
    watched.heard = heard;
    watched.unsent = unsent;
    watched.movedAt = now;
  }
  if (moved || !awaits) {
    watched.silentSince = undefined;
    watched.accused = false;
    watched.askAt = 0;
  }
  if (awaits) watched.silentSince ??= now;
}

function backendOf(watched: Watched, now: number): Backend {
  return { pid: watched.pid ?? 0, ageMs: now - watched.bornAt };
}
