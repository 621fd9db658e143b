import { createHash } from "node:crypto";

/** Words of secrets that stand in documents and templates, where everybody can read them. */
const placeholder =
  /change.?me|place.?holder|replace.?me|insert.?here|your.?(own.?)?(secret|token|key|password)|<[^>]*>|x{6}/i;

/** A secret of a caller has at least so many different characters: 32 random hex digits hardly ever have fewer. */
const minDistinct = 8;
/** `0123456789`, `abcdefghij`: nothing random counts for that long. */
const maxRun = 9;
/** 32 random bytes have some 30 different values; fewer than this has never been seen in 2^60 of them. */
const minDistinctBytes = 16;

/** @returns the end of a sentence that says why this is no secret; undefined where nothing speaks against it. */
export function weaknessOfText(secret: string): string | undefined {
  if (placeholder.test(secret)) return "is a placeholder that others know";
  const codes = [...secret].map((character) => character.codePointAt(0)!);
  return weaknessOfCodes(codes, minDistinct);
}

/** As `weaknessOfText`, for a key of 32 bytes. */
export function weaknessOfKey(key: Uint8Array): string | undefined {
  const text = Buffer.from(key).toString("latin1");
  if (/^[ -~]+$/.test(text) && placeholder.test(text)) return "is a placeholder that others know";
  return weaknessOfCodes([...key], minDistinctBytes);
}

function weaknessOfCodes(codes: readonly number[], fewest: number): string | undefined {
  if (new Set(codes).size < fewest) return "repeats itself and could be guessed";
  if (hasPeriod(codes)) return "repeats itself and could be guessed";
  return longestRun(codes) > maxRun ? "counts up or down and could be guessed" : undefined;
}

/** Whether it is one part over and over. */
function hasPeriod(codes: readonly number[]): boolean {
  for (let period = 1; period <= codes.length / 2; period++) {
    if (codes.every((code, i) => i < period || code === codes[i - period])) return true;
  }
  return false;
}

function longestRun(codes: readonly number[]): number {
  let longest = 1;
  for (const step of [1, -1]) {
    let length = 1;
    codes.forEach((code, i) => {
      length = i > 0 && code - codes[i - 1]! === step ? length + 1 : 1;
      longest = Math.max(longest, length);
    });
  }
  return longest;
}

/** Secrets that our own documents once had as examples: a server that has only a hash knows them by that. */
const published = ["platform-1", "gateway-11", "campaign-1", "broadcast1"].map((end) =>
  createHash("sha256").update(`change-me-${end}`).digest("hex"),
);

export function isPublishedHash(hash: string): boolean {
  return published.includes(hash);
}
