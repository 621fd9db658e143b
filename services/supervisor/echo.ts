/** A line that is longer is looked at only this far. */
const maxLineLength = 16_384;
const windowMs = 10_000;
const maxPerWindow = 5;

export interface Echo {
  /** Looks at what a process has written. */
  take(text: string): void;
  /** The last line that was not JSON: what a crash leaves behind. Empty if there was none. */
  lastWords(): string;
}

/**
 * Picks from a process's output what a person at the terminal should see: its log lines of level error and above, one
 * line each, at most five in ten seconds; the log file has them all.
 */
export function createEcho(name: string, say: (line: string) => void, now = () => performance.now()): Echo {
  let rest = "";
  let lastWords = "";
  let shown: number[] = [];
  const show = (line: string) => {
    shown = shown.filter((at) => now() - at < windowMs);
    if (shown.length > maxPerWindow) return;
    shown.push(now());
    say(shown.length > maxPerWindow ? `${name}: more errors, see its log` : `${name}: ${line}`);
  };
  return {
    take: (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!.slice(0, maxLineLength);
      for (const line of lines) {
        const error = errorIn(line);
        if (error !== undefined) show(error);
        if (isWords(line)) lastWords = line.trim().slice(0, 300);
        else if (error !== undefined) lastWords = error;
      }
    },
    lastWords: () => lastWords,
  };
}

function errorIn(line: string): string | undefined {
  if (!/"level":"(error|fatal)"/.test(line)) return undefined;
  try {
    const { level, msg, err } = JSON.parse(line) as { level: string; msg?: string; err?: { message?: string } };
    const reason = err?.message === undefined || err.message === msg ? "" : ` (${err.message})`;
    return `${level}: ${msg ?? ""}${reason}`.split("\n")[0]!.slice(0, 300);
  } catch {
    return undefined;
  }
}

/** Neither a log line, nor a frame of a stack trace, nor Bun's source excerpt or its version line. */
function isWords(line: string): boolean {
  return line.trim() !== "" && !/^(\{|\s+at |\s*\d+ \||\s*\^|Bun v)/.test(line);
}
