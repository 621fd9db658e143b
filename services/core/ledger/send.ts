/**
 * One send: a message that one lead is to get once. Both kinds, broadcast and follow-up, share this life. Only this folder
 * writes the tables `send` and `send_counter`; each arrow is a verb, and each verb a file that is called like it.
 *
 * ```
 *   enqueue, schedule
 *      │
 *      ▼             claim                     settle: accepted
 *    queued ────────────────────► sending ─────────────────────────────► sent
 *    │ │ ▲ ▲                      │ │ │ │      settle: refused for good
 *    │ │ │ └── settle: proof ─────┘ │ │ └──────────────────────────────► failed
 *    │ │ │     that it was not      │ │        settle, rescue, doubt: it cannot be known
 *    │ │ │     accepted             │ └────────────────────────────────► unconfirmed
 *    │ │ │                          │ settle: the same, its run closed     ▲      │
 *    │ └─│── drop, erase ► dropped ◄┘                                      │      └ settle: late proof
 *    └───│── doubt ────────────────────────────────────────────────────────┘
 *        └── enqueue (top-up) from failed and dropped, takeBack from failed
 * ```
 *
 * - A top-up takes `failed` and `dropped` back to `queued`, never `sending`, `sent` or `unconfirmed`. It also moves a queued
 *   row of a closed run, which counts as dropped, into the run that it opens.
 * - A settle that finds the bot at fault takes back the leads that had failed for it (fault-streak.ts).
 * - Late proof makes it `sent`, `failed`, `queued` or `dropped`. It comes from the claim that went silent: a row that a
 *   restore made doubtful has no claim, so it has none.
 * - Prune deletes rows that no promise needs any more, and never one that is `sending`.
 *
 * Invariants, each held by the statement named:
 * 1. A row is `sending` under exactly one claim token (claim: `WHERE state = queued`).
 * 2. Only the claim's own token settles it (settle: `WHERE claim_token = …`), so a stale worker changes nothing.
 * 3. Nothing is claimed for a broadcast that is not running or a run that is closed (claim holds its gate shared; Start,
 *    Pause, Cancel, Reset and Delete hold it exclusively: see gate.ts).
 * 4. The sums of `send_counter` equal the rows, in every committed state (same transaction, always).
 * 5. `quota_day.used` never exceeds the cap (the claim holds its row).
 * 6. A row moves only as `TRANSITIONS` says. What replicas move and what is pruned is compared with it where it is counted, and
 *    another move undoes its transaction; what a life-cycle call moves by the thousand is bound by its statement alone.
 */

/** What a send belongs to; the numbers are those of `SendKind` in the protobuf. */
export const SendKind = { broadcast: 1, followUp: 2 } as const;
export type SendKind = (typeof SendKind)[keyof typeof SendKind];

export const SendState = { queued: 0, sending: 1, sent: 2, failed: 3, unconfirmed: 4, dropped: 5 } as const;
export type SendState = (typeof SendState)[keyof typeof SendState];

/** Where a row is before it is made and after it is deleted. */
export const NO_ROW = "none";

/** What moves a send. */
export type SendVerb =
  | "enqueue"
  | "schedule"
  | "claim"
  | "drop"
  | "settle"
  | "takeBack"
  | "rescue"
  | "doubt"
  | "erase"
  | "prune";

type Place = SendState | typeof NO_ROW;

const { queued, sending, sent, failed, unconfirmed, dropped } = SendState;
const PROVEN = [sent, failed, unconfirmed, queued, dropped] as const;

/** Every move there is: by verb, from where to where. A place that a verb does not name is left alone by it. */
export const TRANSITIONS: Readonly<Record<SendVerb, Readonly<Partial<Record<Place, readonly Place[]>>>>> = {
  enqueue: { [NO_ROW]: [queued], [queued]: [queued], [failed]: [queued], [dropped]: [queued] },
  schedule: { [NO_ROW]: [queued] },
  claim: { [queued]: [sending] },
  drop: { [queued]: [dropped] },
  settle: { [sending]: PROVEN, [unconfirmed]: PROVEN },
  takeBack: { [failed]: [queued] },
  rescue: { [sending]: [unconfirmed] },
  doubt: { [queued]: [unconfirmed], [sending]: [unconfirmed] },
  erase: { [queued]: [dropped] },
  prune: { [queued]: [NO_ROW], [sent]: [NO_ROW], [failed]: [NO_ROW], [unconfirmed]: [NO_ROW], [dropped]: [NO_ROW] },
};

/** Throws where the table has no such move: then a statement does what it was not made for. */
export function checkTransition(verb: SendVerb, from: Place, to: Place): void {
  if (TRANSITIONS[verb][from]?.includes(to)) return;
  throw new Error(`A send does not go from ${from} to ${to} by ${verb}.`);
}

/**
 * Why a send stands where it does. Stored as a number: append, never renumber. `blocked`, `deactivated`,
 * `chatNotFound` and `cannotInitiate` also stand in `lead.unreachable`.
 */
export const SendReason = {
  none: 0,
  // The lead's: not sent, and the chat leaves every audience until it comes back.
  blocked: 1,
  deactivated: 2,
  chatNotFound: 3,
  cannotInitiate: 4,
  // The lead's, but not for good: the chat stays in audiences.
  cannotSend: 5,
  /** The text was empty once this lead's values stood in it. */
  blankText: 6,
  /** A 4xx that is none of the known ones. */
  refused: 7,
  // The body's.
  body: 20,
  media: 21,
  // Not known whether it was accepted.
  ownerGone: 40,
  timeout: 41,
  connectionCut: 42,
  serverError: 43,
  unreadableReply: 44,
  restored: 45,
  // Dropped before it was tried.
  cancelled: 60,
  optedOut: 61,
  unreachable: 62,
  leadDeleted: 63,
  statusChanged: 64,
  blockOff: 65,
  campaignNotLive: 66,
  entitlement: 67,
  // Put back: proof that it was not accepted.
  rateLimited: 80,
  connectionRefused: 81,
  leaseLost: 82,
  shutdown: 83,
  botRefused: 84,
  /** A 4xx that is not Telegram's: something on the way refused it. */
  turnedAway: 85,
} as const;
export type SendReason = (typeof SendReason)[keyof typeof SendReason];

/** Why a bot's lane stands still. A bot may be held for several reasons at once, each a row of `lane` with a life of its own. */
export const HoldReason = {
  none: 0,
  rateLimited: 1,
  tokenDead: 2,
  breaker: 3,
  operator: 4,
  /** The Bot API refuses one lead after another in the same words; see fault-streak.ts. */
  botFault: 5,
  /** The database was restored or failed over; of all bots only. */
  restored: 6,
  /** Another row has this bot's number. */
  duplicate: 7,
} as const;
export type HoldReason = (typeof HoldReason)[keyof typeof HoldReason];

/**
 * Of several holds the one that is shown, and that decides: those that somebody must lift, then those that end at a known
 * moment, then those that a message is tried through. So a bot whose first hold is one of the last two may be tried.
 */
export const HOLD_ORDER: readonly HoldReason[] = [
  HoldReason.restored,
  HoldReason.operator,
  HoldReason.duplicate,
  HoldReason.tokenDead,
  HoldReason.rateLimited,
  HoldReason.botFault,
  HoldReason.breaker,
];

/** The bot id under which `lane` holds every bot. */
export const ALL_BOTS = 0;

/** Names one row of the ledger. */
export interface SendKey {
  sourceId: number;
  leadId: number;
  /** The lead's entry into the status; 0 for broadcasts. */
  entry: number;
}

/**
 * How many shards the bots are split over. Fixed: it stands in subjects, leases and counter slots, and is the most
 * replicas of one role that can have work.
 */
export const SHARD_COUNT = 32;

export function shardOf(botId: number): number {
  return botId % SHARD_COUNT;
}
