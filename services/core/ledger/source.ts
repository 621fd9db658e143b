/**
 * What decides about the sends of a source, as it is stored: a broadcast's state, and that of a follow-up's campaign.
 * The rules of both lives are their services' (broadcast.ts, campaign.ts).
 */

/** The numbers are those of the REST reference. */
export const BroadcastState = { draft: 0, running: 1, done: 2, cancelled: 3, paused: 4 } as const;
export type BroadcastState = (typeof BroadcastState)[keyof typeof BroadcastState];

/** Whether its run is open: queued sends are parked or on their way. */
export function isOpen(state: BroadcastState): boolean {
  return state === BroadcastState.running || state === BroadcastState.paused;
}

/** `isOpen` as a list in SQL; literal, as the index broadcast_open asks for. */
export const OPEN_STATES_SQL = `(${BroadcastState.running}, ${BroadcastState.paused})`;

/** A block's, with its campaign's. Not stored: it is read from both. */
export const BlockState = { off: 0, on: 1, campaignNotLive: 2 } as const;
export type BlockState = (typeof BlockState)[keyof typeof BlockState];

/** The numbers of CampaignState in the protobuf. */
export const CampaignState = { live: 1, paused: 2, deleted: 3 } as const;
export type CampaignState = (typeof CampaignState)[keyof typeof CampaignState];
