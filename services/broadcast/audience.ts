import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** Whom a Start messages: see `Audience` in the protobuf. Bounds are inclusive; null is no bound. */
export interface Audience {
  /** Bit 0 wait … bit 4 trash; 0 matches nobody. */
  statuses: number;
  /** Empty: all of the account's campaigns. */
  campaignIds: number[];
  createdFrom: Date | null;
  createdTo: Date | null;
  statusFrom: Date | null;
  statusTo: Date | null;
}

export const MAX_CAMPAIGN_IDS = 1000;

/** All five bits. */
const MAX_STATUSES = 31;

/** The statuses in a mask, as they stand in `lead.status`. */
export function statusesOfMask(mask: number): number[] {
  return [0, 1, 2, 3, 4].filter((status) => (mask & (1 << status)) !== 0);
}

/**
 * Checks an audience by itself; whether the campaigns are the account's is the store's to say.
 * Throws DomainError INVALID_ARGUMENT that names the field.
 */
export function checkAudience(audience: Audience): Audience {
  if (audience.statuses < 0 || audience.statuses > MAX_STATUSES) {
    throw invalid("statuses", `statuses must be from 0 to ${MAX_STATUSES}.`);
  }
  if (audience.campaignIds.length > MAX_CAMPAIGN_IDS) {
    throw invalid("campaigns", `At most ${MAX_CAMPAIGN_IDS} campaigns can be chosen; leave the list empty for all.`);
  }
  checkWindow("created", audience.createdFrom, audience.createdTo);
  checkWindow("status", audience.statusFrom, audience.statusTo);
  return { ...audience, campaignIds: [...new Set(audience.campaignIds)] };
}

function checkWindow(name: "created" | "status", from: Date | null, to: Date | null): void {
  if (from && to && from > to) {
    throw invalid(`${name}_from`, `${name}_from must not be later than ${name}_to.`);
  }
}

function invalid(field: string, message: string): DomainError {
  return new DomainError(ErrorReason.INVALID_ARGUMENT, message, { field });
}
