import { type Budget, createBudget } from "./http2-guard.ts";

/** How often the addresses that have used nothing of late are forgotten. */
const sweepMs = 10_000;

/** What all connections of one address share: `perSecond` of something for ever, `burst` of it in one go. */
export function createAddressBudgets(perSecond: number, burst: number): (bucket: string) => boolean {
  const budgets = new Map<string, Budget>();
  let sweptMs = performance.now();
  return (bucket) => {
    const nowMs = performance.now();
    if (nowMs - sweptMs > sweepMs) {
      sweptMs = nowMs;
      for (const [key, budget] of budgets) if (budget.isFull(nowMs)) budgets.delete(key);
    }
    const budget = budgets.get(bucket) ?? createBudget(perSecond, burst);
    budgets.set(bucket, budget);
    return budget.take(nowMs);
  };
}
