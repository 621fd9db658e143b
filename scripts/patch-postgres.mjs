/**
 * Repairs the installed `postgres` 3.4.9, which does five things wrong when a connection is lost, and ends the process or lets
 * one query suffer for another; and which lets nobody see, or give up, a connection that never answers:
 *
 * 1. A write that waits for its turn (every ROLLBACK of a transaction whose connection was lost) meets a socket that is null,
 *    and throws where nobody can catch it. Open as porsager/postgres#1066, #1154 and #1208.
 * 2. A waiting write that is cancelled stays marked as waiting, so the slot's next connection never says hello and times out.
 * 3. The error of the old connection is kept and given to the first query of the new one.
 * 4. What a dead transaction still says is sent on that slot's next connection, where another transaction may be under way.
 * 5. A connection that is lost while it asks for the types of arrays rejects a promise that nobody holds. (The query that
 *    waits for the connection is made again on the next one.)
 * 6. Each connection is shown to the option `onconnection`: whether it awaits an answer, what came, and a way to give it up as if
 *    it had been closed from outside (services/database/watchdog.ts).
 *
 * Runs after each install and does nothing the second time. Plain JavaScript without dependencies.
 */
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const source = join(dirname(fileURLToPath(import.meta.url)), "..", "node_modules", "postgres", "src");

const repairs = [
  {
    file: "connection.js",
    from: `  function nextWrite(fn) {
    const x = socket.write(chunk, fn)
`,
    to: `  function nextWrite(fn) {
    if (socket === null) {
      nextWriteTimer !== null && clearImmediate(nextWriteTimer)
      abandon(Errors.connection('CONNECTION_CLOSED', options, socket))
      return false
    }
    const x = socket.write(chunk, fn)
`,
  },
  {
    file: "connection.js",
    from: `  function connectTimedOut() {
`,
    to: `  function abandon(err) {
    query && queryError(query, err)
    while (sent.length)
      queryError(sent.shift(), err)
    chunk = nextWriteTimer = query = results = errorResponse = null
    result = new Result()
  }

  function connectTimedOut() {
`,
  },
  {
    file: "connection.js",
    from: `    socket.removeAllListeners()
    socket = null

    if (initial)
      return reconnect()

    !hadError && (query || sent.length) && error(Errors.connection('CONNECTION_CLOSED', options, socket))
`,
    to: `    socket.removeAllListeners()
    socket = null
    stream && (stream.destroy(Errors.connection('CONNECTION_CLOSED', options, socket)), stream = null)
    abandon(Errors.connection('CONNECTION_CLOSED', options, socket))

    if (initial)
      return reconnect()

`,
  },
  {
    file: "connection.js",
    from: `        return fetchArrayTypes()
`,
    to: `        return fetchArrayTypes().catch(() => {})
`,
  },
  {
    file: "connection.js",
    from: `    count: 0,
    id
  }

  queues.closed && queues.closed.push(connection)
`,
    to: `    count: 0,
    heard: 0,
    get pid() { return backend.pid },
    get idle() { return connection.queue === queues.open },
    get awaits() { return query !== null && !query.cursorFn && stream === null },
    get unsent() { return socket === null ? 0 : socket.writableLength },
    lose,
    id
  }

  queues.closed && queues.closed.push(connection)
  queues.closed && options.onconnection && options.onconnection(connection)
`,
  },
  {
    file: "connection.js",
    from: `  function data(x) {
    if (incomings) {
`,
    to: `  function data(x) {
    connection.heard++
    if (incomings) {
`,
  },
  {
    file: "connection.js",
    from: `  /* Handlers */
  function handle(`,
    to: `  function lose() {
    const lost = socket
    if (lost === null)
      return
    closed()
    lost.on('error', noop)
    lost.destroy()
  }

  /* Handlers */
  function handle(`,
  },
  {
    file: "index.js",
    from: `    socket          : o.socket,
`,
    to: `    socket          : o.socket,
    onconnection    : o.onconnection,
`,
  },
  {
    file: "index.js",
    from: `      , connection
      , prepare = null
`,
    to: `      , connection
      , lost = null
      , prepare = null
`,
  },
  {
    file: "index.js",
    from: `        new Promise((_, reject) => connection.onclose = reject)
`,
    to: `        new Promise((_, reject) => connection.onclose = e => reject(lost = e))
`,
  },
  {
    file: "index.js",
    from: `        q.catch(e => uncaughtError || (uncaughtError = e))
        c.queue === full
`,
    to: `        q.catch(e => uncaughtError || (uncaughtError = e))
        if (lost)
          return q.reject(lost)
        c.queue === full
`,
  },
];

/** @throws if the package is another one than these repairs were made for. */
export function patchPostgres() {
  if (!existsSync(source)) return;
  for (const name of new Set(repairs.map(({ file }) => file))) {
    const path = join(source, name);
    const installed = readFileSync(path, "utf8");
    const repaired = repairs.filter(({ file }) => file === name).reduce(repair, installed);
    if (repaired !== installed) writeFileSync(path, repaired);
  }
}

function repair(text, { from, to }) {
  if (text.includes(to)) return text;
  if (text.split(from).length === 2) return text.replace(from, () => to);
  throw new Error(
    "postgres is not the version that scripts/patch-postgres.mjs repairs: see whether it still has to be.",
  );
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) patchPostgres();
