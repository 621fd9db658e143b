/** Counts the calls that are being served, so that a stopping server knows when the last one has ended. */
export interface InFlight {
  /** Marks a call as begun; the returned function marks it as ended and may be called more than once. */
  begin(): () => void;
  /** Resolves when no call is being served: true; or false when that took longer than `timeoutMs`. */
  idle(timeoutMs: number): Promise<boolean>;
}

export function createInFlight(): InFlight {
  let count = 0;
  const waiting = new Set<() => void>();

  function end(): void {
    count -= 1;
    if (count > 0) return;
    for (const wake of waiting) wake();
  }

  return {
    begin: () => {
      count += 1;
      let ended = false;
      return () => {
        if (!ended) end();
        ended = true;
      };
    },
    idle: async (timeoutMs) => {
      if (count === 0) return true;
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const wake = () => resolve(true);
      const timer = setTimeout(() => resolve(false), timeoutMs);
      waiting.add(wake);
      const idle = await promise;
      clearTimeout(timer);
      waiting.delete(wake);
      return idle;
    },
  };
}
