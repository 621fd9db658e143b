/** What one caller may ask of the gateway: names, defaults and reasons. Nothing here can be turned off. */
import { type Static, Type } from "@sinclair/typebox";
import { type Share, shareFrom, shareVars } from "#services/platform/load-config.ts";

/** Rates are counted over this while, so that a page that opens with thirty calls is no flood. */
export const rateWindowSeconds = 10;

const perSecond = (calls: number) => Type.Integer({ minimum: 1, maximum: 1_000_000, default: calls });

export const limitVars = {
  ...shareVars,
  SESSION_CALLS_PER_SECOND: perSecond(300),
  ACCOUNT_CALLS_PER_SECOND: perSecond(600),
  /** Tokens and webhook secrets that turn out wrong. Tokens cannot be guessed: this bounds load, and tells a broken script. */
  ADDRESS_FAILURES_PER_MINUTE: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 600 }),
  ACCOUNT_UPLOADS_AT_ONCE: Type.Integer({ minimum: 1, maximum: 100, default: 2 }),
  /** Each is in memory as a whole, and some of them twice while they are handed on: 12 of 50 MB are below 1 GB. */
  UPLOADS_AT_ONCE: Type.Integer({ minimum: 1, maximum: 1_000, default: 12 }),
  /** A video of 50 MB over a bad mobile connection; what is slower keeps a turn from others of its account. */
  UPLOAD_BYTES_PER_SECOND: Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: 16_384 }),
} as const;

type LimitConfig = { readonly [K in keyof typeof limitVars]: Static<(typeof limitVars)[K]> };

export interface Limits {
  readonly share: Share;
  readonly sessionCallsPerSecond: number;
  readonly accountCallsPerSecond: number;
  readonly addressFailuresPerMinute: number;
  readonly accountUploadsAtOnce: number;
  readonly uploadsAtOnce: number;
  readonly uploadBytesPerSecond: number;
}

export function limitsFrom(config: LimitConfig): Limits {
  return {
    share: shareFrom(config),
    sessionCallsPerSecond: config.SESSION_CALLS_PER_SECOND,
    accountCallsPerSecond: config.ACCOUNT_CALLS_PER_SECOND,
    addressFailuresPerMinute: config.ADDRESS_FAILURES_PER_MINUTE,
    accountUploadsAtOnce: config.ACCOUNT_UPLOADS_AT_ONCE,
    uploadsAtOnce: config.UPLOADS_AT_ONCE,
    uploadBytesPerSecond: config.UPLOAD_BYTES_PER_SECOND,
  };
}

export const defaultLimits: Limits = limitsFrom(
  Object.fromEntries(Object.entries(limitVars).map(([name, schema]) => [name, schema.default])) as LimitConfig,
);
