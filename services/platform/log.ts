import {
  type DestinationStream,
  destination as fileDestination,
  type Logger as PinoLogger,
  pino,
  stdTimeFunctions,
} from "pino";

/** A JSON logger: `log.info({fields}, "sentence")`. Every line has time (ISO 8601), level, service and msg. */
export type Logger = PinoLogger;

export interface LoggerOptions {
  /** Written into every line. */
  service: string;
  /** Default `info`. */
  level?: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  /** Default stdout, written synchronously so that the last line before an exit is not lost. */
  destination?: DestinationStream;
}

/** What is logged of an error: these and nothing else. Bun puts the request's URL, so a bot's token, into `path`. */
interface LoggedError {
  name: string;
  message: string;
  stack?: string;
  code?: string | number;
  constraint?: string;
  cause?: LoggedError;
}

const redacted = "[redacted]";
/** A Bot API token, bare or inside a URL, also where its colon is percent-encoded. */
const botToken = /\d{5,}(?::|%3A)[A-Za-z0-9_-]{30,}/gi;
const bearer = /Bearer\s+[^\s"'\\,]+/gi;

/** Replaces every Bot API token and every bearer credential in a text. */
export function redactSecrets(text: string): string {
  return text.replace(botToken, redacted).replace(bearer, `Bearer ${redacted}`);
}

/** Creates the process's logger. Nothing that looks like a token passes it, wherever in a record it stands. */
export function createLogger({ service, level = "info", destination }: LoggerOptions): Logger {
  const target = destination ?? fileDestination({ dest: 1, sync: true });
  // Redacting the finished line reaches every string in it: message, field names, nested values, child bindings.
  const stream: DestinationStream = { write: (line) => target.write(redactSecrets(line)) };
  return pino(
    {
      level,
      base: { service },
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        bindings: (bindings) => plainValue(bindings, 0) as Record<string, unknown>,
        log: (record) => plainValue(record, 0) as Record<string, unknown>,
      },
      // The formatter has made errors plain already; pino's own serializer would add their other properties.
      serializers: { err: (error: unknown) => error },
      hooks: { logMethod: writeSafely },
    },
    stream,
  );
}

type LogArguments = Parameters<PinoLogger["info"]>;

/** Pino takes an error's message as the line's message before any formatter runs, so errors are made plain here. */
function writeSafely(this: PinoLogger, args: LogArguments, write: (...args: LogArguments) => void): void {
  const values: unknown[] = args.map((value) => (value instanceof Error ? loggedError(value, 0) : value));
  if (args[0] instanceof Error) {
    const error = values[0] as LoggedError;
    const message = values.length > 1 ? values.slice(1) : [error.message];
    write.apply(this, [{ err: error }, ...message] as unknown as LogArguments);
    return;
  }
  write.apply(this, values as unknown as LogArguments);
}

/** Deeper than any record of ours; a cycle ends here too. */
const maxDepth = 6;

function plainValue(value: unknown, depth: number): unknown {
  if (value instanceof Error) return loggedError(value, depth);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  if (depth >= maxDepth) return "[deeper]";
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.map((item) => plainValue(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainValue(item, depth + 1)]));
}

function loggedError(error: Error, depth: number): LoggedError {
  const fields = error as Error & Record<string, unknown>;
  if ("query" in fields || "params" in fields) return loggedQueryError(fields);
  const logged: LoggedError = { name: error.name, message: redactSecrets(error.message) };
  if (error.stack !== undefined) logged.stack = redactSecrets(error.stack);
  if (typeof fields.code === "string" || typeof fields.code === "number") logged.code = fields.code;
  if (error.cause instanceof Error && depth < maxDepth) logged.cause = loggedError(error.cause, depth + 1);
  return logged;
}

/** A failed query has its parameters, so people's data, in message and stack: SQLSTATE, constraint and frames remain. */
function loggedQueryError(error: Error & Record<string, unknown>): LoggedError {
  const source = (error.cause instanceof Error ? error.cause : error) as Error & Record<string, unknown>;
  const logged: LoggedError = { name: error.name, message: "a database query failed" };
  const frames = error.stack?.split("\n").filter((line) => /^\s+at /.test(line));
  if (frames !== undefined && frames.length > 0) logged.stack = frames.join("\n");
  if (typeof source.code === "string") logged.code = source.code;
  if (typeof source.constraint_name === "string") logged.constraint = source.constraint_name;
  return logged;
}
