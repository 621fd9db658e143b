/**
 * Whose bot: a bot is the number in front of its token's colon, in the whole system. Two rows that sent with one number
 * would go at twice its pace, and a tap on a message of the one would come in at the other.
 *
 * ```
 *            read at campaign's start            a token of the number that getMe accepts comes for
 *  unread ──────────────────────────► own ────► duplicate   another row, and getMe refuses this one's
 *    │ │      an older row has it      ▲ ▲          │
 *    │ └───────────────────────────────┼─┼────► duplicate
 *    │        no key opens the token   │ └──────────┘ PutBot with a number that is free
 *    └──────► unreadable ──────────────┘ PutBot
 * ```
 *
 * Invariants:
 * 1. `bot.number` is set for `own` and for nothing else (a check of the table), and unique: of two that want a number at
 *    once Postgres lets one through.
 * 2. An own number changes never: a token with another one is refused.
 * 3. A duplicate is held with the reason `duplicate` and keeps its campaigns and leads.
 * 4. `former_numbers` has every number that the row stood for before, 0 among them where it was not known: opt-outs are
 *    remembered under them.
 * 5. The service bot's number is nobody else's.
 */

/** How a row stands to its number. Stored: append, never renumber. */
export const NumberState = { unread: 0, own: 1, duplicate: 2, unreadable: 3 } as const;
export type NumberState = (typeof NumberState)[keyof typeof NumberState];

/** Stands for the number of a bot whose token cannot be read. Telegram gives it to nobody. */
export const UNKNOWN_NUMBER = 0;

/** As Telegram gives them out: a number without zeros in front, a colon, and what stands in a URL as it is. */
const TOKEN = /^([1-9][0-9]{0,15}):[A-Za-z0-9_-]+$/;

/** Undefined for what is no token. */
export function numberOfToken(token: string): number | undefined {
  const number = Number(TOKEN.exec(token)?.[1]);
  return Number.isSafeInteger(number) ? number : undefined;
}

/** A token that only travels to have getMe asked is sealed for that: it opens nowhere else. */
export const TOKEN_CHECK_CONTEXT = "token-check";

/** Told to operators and customers alike, so it does not say whose the other one is. */
export const DUPLICATE_MESSAGE =
  "Another bot of this system has the same Telegram number: give this one the token of a bot of its own.";
