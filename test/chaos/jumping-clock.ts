/** Preloaded into a process whose wall clock is to jump: CLOCK_JUMP_MS, a few seconds after its start. */
const realNow = Date.now;
const jumpMs = Number(process.env.CLOCK_JUMP_MS ?? 0);
const jumpsAt = realNow() + 3_000;

function now(): number {
  const real = realNow();
  return real < jumpsAt ? real : real + jumpMs;
}

Date.now = now;
globalThis.Date = new Proxy(Date, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
});
