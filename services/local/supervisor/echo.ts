/** A line that is longer is looked at only this far. */
const maxLineLength = 16_384;
const maxShownLength = 300;
const windowMs = 10_000;
const maxPerWindow = 5;

export interface Echo {
  /** Looks at what a process has written to stdout: log lines. */
  takeOutput(text: string): void;
  /** Looks at what it has written to stderr: what a crash leaves behind. */
  takeErrors(text: string): void;
  /** The last error it logged, or the last sentence on its stderr. Empty if there was none. */
  lastWords(): string;
}

/**
 * Picks from a process's output what a person at the terminal should see: its log lines of level error and above, one
 * line each, at most five in ten seconds; the log file has them all.
 */
export function createEcho(name: string, say: (line: string) => void, now = () => performance.now()): Echo {
  let lastWords = "";
  let shown: number[] = [];
  const show = (line: string) => {
    shown = shown.filter((at) => now() - at < windowMs);
    if (shown.length > maxPerWindow) return;
    shown.push(now());
    say(shown.length > maxPerWindow ? `${name}: more errors, see its log` : `${name}: ${line}`);
  };
  return {
    takeOutput: byLine((line) => {
      const error = errorIn(line);
      if (error === undefined) return;
      show(error);
      lastWords = error;
    }),
    takeErrors: byLine((line) => {
      if (isWords(line)) lastWords = line.trim().slice(0, maxShownLength);
    }),
    lastWords: () => lastWords,
  };
}

/** Cuts a stream of text into lines. */
function byLine(take: (line: string) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!.slice(0, maxLineLength);
    for (const line of lines) take(line);
  };
}

function errorIn(line: string): string | undefined {
  if (!/"level":"(error|fatal)"/.test(line)) return undefined;
  try {
    const { level, msg, err } = JSON.parse(line) as { level: string; msg?: string; err?: { message?: string } };
    const reason = err?.message === undefined || err.message === msg ? "" : ` (${err.message})`;
    return `${level}: ${msg ?? ""}${reason}`.split("\n")[0]!.slice(0, maxShownLength);
  } catch {
    return undefined;
  }
}

/** Neither empty, nor a frame of a stack trace, nor Bun's source excerpt or its version line. */
function isWords(line: string): boolean {
  return line.trim() !== "" && !/^(\s+at |\s*\d+ \||\s*\^|Bun v)/.test(line);
}
