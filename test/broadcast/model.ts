/**
 * What a broadcast and its ledger should be, in a page: the model that random sequences of actions are held against. It knows
 * states by lead, and nothing of runs, counters, tokens or locks.
 */
import type { SendResult } from "#services/core/ledger/settle.ts";

export type LeadState = "queued" | "sending" | "sent" | "failed" | "unconfirmed" | "dropped";
export type LifeState = "draft" | "running" | "done" | "cancelled" | "paused" | "deleted";

export class Model {
  life: LifeState = "draft";
  /** By lead, in the present generation; a parked lead of a closed run is "dropped". */
  ledger = new Map<number, LeadState>();
  /** On the wire, of this and of ended generations. */
  onTheWire: { leadId: number; ended: boolean; rescued: boolean }[] = [];
  /** Leads that may be messaged. */
  reachable = new Set<number>();
  /** Leads by status, and the mask of those that the next Start is for. */
  status = new Map<number, number>();
  mask = 31;
  /** Manual messages of the day: claimed and not given back. */
  used = 0;

  leadsIn(...states: LeadState[]): number[] {
    return [...this.ledger].filter(([, state]) => states.includes(state)).map(([leadId]) => leadId);
  }

  get isOpen(): boolean {
    return this.life === "running" || this.life === "paused";
  }

  /** Whether a Start takes a lead: in its audience, and new, failed or dropped. */
  #isLeft(leadId: number): boolean {
    if ((this.mask & (1 << this.status.get(leadId)!)) === 0) return false;
    const state = this.ledger.get(leadId);
    return state === undefined || state === "failed" || state === "dropped";
  }

  start(): number | "refused" {
    if (!["draft", "done", "cancelled"].includes(this.life)) return "refused";
    const taken = [...this.reachable].filter((leadId) => this.#isLeft(leadId));
    for (const leadId of taken) this.ledger.set(leadId, "queued");
    if (taken.length > 0) this.life = "running";
    return taken.length;
  }

  pause(): undefined | "refused" {
    if (this.life !== "running") return "refused";
    this.life = "paused";
  }

  resume(): undefined | "refused" {
    if (this.life !== "paused") return "refused";
    this.life = this.leadsIn("queued", "sending").length > 0 ? "running" : "done";
  }

  cancel(): undefined | "refused" {
    if (!this.isOpen) return "refused";
    this.life = "cancelled";
    for (const leadId of this.leadsIn("queued")) this.ledger.set(leadId, "dropped");
  }

  reset(): undefined | "refused" {
    if (this.life !== "done" && this.life !== "cancelled") return "refused";
    this.life = "draft";
    this.#endGeneration();
  }

  remove(): undefined | "refused" {
    if (this.life === "running" || this.life === "deleted") return "refused";
    this.life = "deleted";
    this.#endGeneration();
  }

  #endGeneration(): void {
    this.ledger.clear();
    for (const send of this.onTheWire) send.ended = true;
  }

  review(): void {
    if (this.life === "running" && this.leadsIn("queued", "sending").length === 0) this.life = "done";
  }

  /** @returns the leads that are claimed, of those offered. */
  claim(offered: number[], cap: number): number[] {
    if (this.life !== "running") return [];
    // A job that turns out to be stale takes room in its batch; the next batch has it again.
    const within = cap === 0 ? offered : offered.slice(0, Math.max(0, cap - this.used));
    const queued = within.filter((leadId) => this.ledger.get(leadId) === "queued");
    const claimed = queued.filter((leadId) => this.reachable.has(leadId));
    for (const leadId of queued) this.ledger.set(leadId, this.reachable.has(leadId) ? "sending" : "dropped");
    this.onTheWire.push(...claimed.map((leadId) => ({ leadId, ended: false, rescued: false })));
    this.used += claimed.length;
    return claimed;
  }

  settle(send: Model["onTheWire"][number], result: SendResult["result"]): void {
    this.onTheWire = this.onTheWire.filter((other) => other !== send);
    if (result !== "sent" && result !== "unconfirmed") this.used -= 1;
    if (send.ended) return;
    this.ledger.set(send.leadId, this.#after(result));
  }

  #after(result: SendResult["result"]): LeadState {
    if (result !== "putBack" && result !== "bodyFault") return result;
    return this.isOpen ? "queued" : "dropped";
  }

  /** Everything on the wire is abandoned; its late results still count. */
  rescue(): void {
    for (const send of this.onTheWire) {
      if (!send.ended) this.ledger.set(send.leadId, "unconfirmed");
      send.rescued = true;
    }
  }
}
