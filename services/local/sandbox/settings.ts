import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** Every limit and check that the sandbox enforces. A limit of 0 is switched off. */
export interface Settings {
  /** Only tokens given to `putBot` are known; every other one is answered 401. */
  strictBots: boolean;
  /** Sends a bot may make in any 1,000 ms. */
  botPerSecond: number;
  /** The same for a paid bot's calls with `allow_paid_broadcast`. */
  paidBotPerSecond: number;
  /** Calls other than sends take a place in the bot's second too. */
  countEveryMethod: boolean;
  /** Messages a second that one chat takes once its burst is used up. */
  chatPerSecond: number;
  /** Messages that one chat takes at once. */
  chatBurst: number;
  /** `retry_after` of the sandbox's own 429s, in seconds. */
  retryAfterSeconds: number;
  /** Refuse, not only count, a bot's sends inside a `retry_after` window. */
  holdDuringRetryAfter: boolean;
  /** Calls this close behind a 429 were on the wire already, and do not count as made inside its window. */
  retryAfterGraceMs: number;
  checkText: boolean;
  checkEntities: boolean;
  checkKeyboard: boolean;
  checkMedia: boolean;
  /** Messages whose text, entities, keyboard and file are kept; counts and columns are kept for all. */
  keepBodies: number;
}

export const defaultSettings: Readonly<Settings> = Object.freeze({
  strictBots: false,
  botPerSecond: 30,
  paidBotPerSecond: 1_000,
  countEveryMethod: false,
  chatPerSecond: 1,
  chatBurst: 3,
  retryAfterSeconds: 1,
  holdDuringRetryAfter: false,
  retryAfterGraceMs: 50,
  checkText: true,
  checkEntities: true,
  checkKeyboard: true,
  checkMedia: true,
  keepBodies: 200_000,
});

/** Settings that refuse nothing: for load tests of something other than the pace. */
export const unlimited: Readonly<Partial<Settings>> = Object.freeze({ botPerSecond: 0, chatPerSecond: 0 });

/** The settings with the change applied. Throws INVALID_ARGUMENT for an unknown name or a value that does not fit. */
export function changedSettings(current: Readonly<Settings>, change: Readonly<Partial<Settings>>): Settings {
  for (const [name, value] of Object.entries(change)) {
    if (!Object.hasOwn(defaultSettings, name)) throw invalid(`There is no setting ${name}.`, name);
    const wanted = typeof defaultSettings[name as keyof Settings];
    const fits = wanted === "number" ? isAmount(value) : typeof value === wanted;
    if (!fits) throw invalid(`${name} must be a ${wanted === "number" ? "number from 0" : wanted}.`, name);
  }
  return { ...current, ...change };
}

function isAmount(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

/** What every wrong argument of a control call is refused with. */
export function invalid(message: string, field: string): DomainError {
  return new DomainError(ErrorReason.INVALID_ARGUMENT, message, { field });
}
