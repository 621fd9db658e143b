/**
 * The end of the pipe that `scripts/bootstrap.mjs` gives to what it runs.
 *
 * Calls back once when the process that started this one is gone. Without bootstrap it never does.
 */
export function onParentGone(callback: () => void): void {
  if (process.env.LEADCAST_BOOTSTRAP !== "1") return;
  // What we start has a stdin of its own and must not take it for that pipe.
  delete process.env.LEADCAST_BOOTSTRAP;
  void untilClosed().then(callback);
}

async function untilClosed(): Promise<void> {
  const reader = Bun.stdin.stream().getReader();
  while (!(await reader.read()).done);
}
