/** How much of a process one account may take: the same two variables in the gateway and in every service. */
import { type Static, Type } from "@sinclair/typebox";

export const shareVars = {
  /** Four use a database pool of ten without filling it, and keep two processors busy. */
  ACCOUNT_CALLS_AT_ONCE: Type.Integer({ minimum: 1, maximum: 1_000, default: 4 }),
  /** With those that run: more than the connections that a browser or an ordinary pool opens. */
  ACCOUNT_CALLS_WAITING: Type.Integer({ minimum: 0, maximum: 10_000, default: 124 }),
} as const;

/** How many calls of one account run at once, and how many more wait for their turn. */
export interface Share {
  readonly atOnce: number;
  readonly waiting: number;
}

type ShareConfig = { readonly [K in keyof typeof shareVars]: Static<(typeof shareVars)[K]> };

export function shareFrom(config: ShareConfig): Share {
  return { atOnce: config.ACCOUNT_CALLS_AT_ONCE, waiting: config.ACCOUNT_CALLS_WAITING };
}

/** What holds where nobody configures anything, as in tests of a part. */
export const defaultShare: Share = {
  atOnce: shareVars.ACCOUNT_CALLS_AT_ONCE.default,
  waiting: shareVars.ACCOUNT_CALLS_WAITING.default,
};
