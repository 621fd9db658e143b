import { createLogger, type Logger } from "#services/platform/log.ts";

export interface CapturedLog {
  log: Logger;
  /** Everything that was written, as it would stand on stdout. */
  text(): string;
  records(): Record<string, unknown>[];
}

/** A real logger whose lines stay in memory. */
export function captureLog(): CapturedLog {
  const lines: string[] = [];
  const log = createLogger({
    service: "test",
    level: "debug",
    destination: { write: (line) => void lines.push(line) },
  });
  return { log, text: () => lines.join(""), records: () => lines.map((line) => JSON.parse(line)) };
}
