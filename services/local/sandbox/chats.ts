/** One bot's chats as columns: a number in a map and three in arrays for each, so that millions fit in memory. */
export interface Chats {
  /** The chat's row; it is made when `make` says so, and -1 otherwise. */
  row(chat: number, make: boolean): number;
  count(row: number): number;
  wholeAgainAtMs(row: number): number;
  setWholeAgainAtMs(row: number, atMs: number): void;
  /** Counts one message and returns its id, which rises per chat and never starts again. */
  next(row: number): number;
  lastMessageId(row: number): number;
  /** Chats with at least one message since the counts were cleared. */
  distinct(): number;
  /** The most messages that any chat has. */
  most(): number;
  over(count: number): { chat: number; count: number }[];
  clearCounts(): void;
}

export function createChats(): Chats {
  const rows = new Map<number, number>();
  let counts = new Uint32Array(16);
  let messageIds = new Uint32Array(16);
  let wholeAgain = new Float64Array(16);
  let distinct = 0;
  let most = 0;

  function row(chat: number, make: boolean): number {
    const found = rows.get(chat);
    if (found !== undefined || !make) return found ?? -1;
    const added = rows.size;
    if (added === counts.length) grow(added * 2);
    rows.set(chat, added);
    return added;
  }

  function grow(size: number): void {
    counts = enlarged(counts, new Uint32Array(size));
    messageIds = enlarged(messageIds, new Uint32Array(size));
    wholeAgain = enlarged(wholeAgain, new Float64Array(size));
  }

  function next(at: number): number {
    counts[at]!++;
    if (counts[at] === 1) distinct++;
    if (counts[at]! > most) most = counts[at]!;
    return ++messageIds[at]!;
  }

  function over(limit: number): { chat: number; count: number }[] {
    if (most <= limit) return [];
    const found: { chat: number; count: number }[] = [];
    for (const [chat, at] of rows) if (counts[at]! > limit) found.push({ chat, count: counts[at]! });
    return found;
  }

  return {
    row,
    count: (at) => counts[at] ?? 0,
    wholeAgainAtMs: (at) => wholeAgain[at]!,
    setWholeAgainAtMs: (at, ms) => {
      wholeAgain[at] = ms;
    },
    next,
    lastMessageId: (at) => messageIds[at] ?? 0,
    distinct: () => distinct,
    most: () => most,
    over,
    clearCounts: () => {
      counts.fill(0);
      distinct = 0;
      most = 0;
    },
  };
}

/** Copies a column into a bigger one. */
export function enlarged<Column extends Uint8Array | Uint32Array | Float64Array | BigUint64Array>(
  old: Column,
  bigger: Column,
): Column {
  (bigger as unknown as { set(values: Column): void }).set(old);
  return bigger;
}
