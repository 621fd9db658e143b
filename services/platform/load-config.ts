/** How much of a process one account may take: the same two variables in the gateway and in every service. */
import { type Static, Type } from "@sinclair/typebox";

export const shareVars = {
  /** Of an account that is alone: they use a database pool of ten without filling it. */
  ACCOUNT_CALLS_AT_ONCE: Type.Integer({ minimum: 1, maximum: 1_000, default: 8 }),
  /** Beside others: two that take long, such as a Start and a count of a million, leave one for the rest. */
  ACCOUNT_CALLS_BESIDE_OTHERS: Type.Integer({ minimum: 1, maximum: 1_000, default: 3 }),
  /** With those that run: more than the connections that a browser or an ordinary pool opens. */
  ACCOUNT_CALLS_WAITING: Type.Integer({ minimum: 0, maximum: 10_000, default: 124 }),
} as const;

/** How many calls of one account run at once, and how many more wait for their turn. */
export interface Share {
  readonly atOnce: number;
  /** At most so many of them while other accounts call, too. */
  readonly besideOthers: number;
  readonly waiting: number;
}

type ShareConfig = { readonly [K in keyof typeof shareVars]: Static<(typeof shareVars)[K]> };

export function shareFrom(config: ShareConfig): Share {
  const { ACCOUNT_CALLS_AT_ONCE: atOnce, ACCOUNT_CALLS_BESIDE_OTHERS: besideOthers } = config;
  return { atOnce, besideOthers: Math.min(atOnce, besideOthers), waiting: config.ACCOUNT_CALLS_WAITING };
}

/** What holds where nobody configures anything, as in tests of a part. */
export const defaultShare: Share = {
  atOnce: shareVars.ACCOUNT_CALLS_AT_ONCE.default,
  besideOthers: shareVars.ACCOUNT_CALLS_BESIDE_OTHERS.default,
  waiting: shareVars.ACCOUNT_CALLS_WAITING.default,
};
