import { createHash, randomBytes } from "node:crypto";

/** What an account pays for. */
export interface Tariff {
  id: number;
  name: string;
  /** Whether blocks may be turned on and broadcasts started. */
  broadcasts: boolean;
  /** Manual messages per UTC day; 0 is unlimited. */
  dailyCap: number;
  /** Broadcasts that an account may have, in all states. */
  maxBroadcasts: number;
}

/** What a tariff allows that does not say. */
export const DEFAULT_MAX_BROADCASTS = 1_000;

/** A customer. */
export interface Account {
  id: number;
  name: string;
  tariffId: number;
  /** Active until then; null means not active. */
  paidUntil: Date | null;
  /** 0 while no chat is linked. */
  telegramChatId: number;
}

const DEFAULT_SESSION_SECONDS = 30 * 24 * 60 * 60;

/** 0 means the default of 30 days. */
export function sessionSeconds(ttlSeconds: number): number {
  return ttlSeconds === 0 ? DEFAULT_SESSION_SECONDS : ttlSeconds;
}

/** An account has so many sessions at most: one more ends the least recently used. */
export const SESSIONS_PER_ACCOUNT = 100;

/** 256 bits in base64url: cannot be guessed, and goes into a header or a URL fragment as it is. */
export function createSessionToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What is stored of a token. It has too many bits to be searched for, so a plain hash is enough. */
export function hashSessionToken(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}
