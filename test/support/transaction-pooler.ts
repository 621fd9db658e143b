/**
 * A pooler in transaction mode at its most unkind, and on every machine: what follows a transaction runs on another
 * connection to Postgres wherever there is one, and nothing cleans up in between. So whatever leans on its session (SET,
 * session locks, prepared statements, temporary tables) is found out.
 *
 * It knows no passwords: a client's login is passed through to a new connection, which joins the pool once it is logged
 * in. One whose client goes away in the middle of a transaction is closed.
 */
import { createConnection, createServer, type Socket } from "node:net";

export interface TransactionPooler {
  /** As the database's, through the pooler. */
  readonly url: string;
  /** How often a client went on with another connection than it had before. */
  readonly switches: number;
  stop(): Promise<void>;
}

export interface TransactionPoolerOptions {
  databaseUrl: string;
  /** Connections to Postgres at most; more are open only while their clients log in. */
  poolSize: number;
}

interface Backend {
  socket: Socket;
  messages: Messages;
  client: Client | undefined;
}

interface Client {
  socket: Socket;
  backend: Backend | undefined;
  last: Backend | undefined;
  /** What waits for a connection. */
  waiting: Buffer[];
  /** Answers `ReadyForQuery` that are still to come. */
  owed: number;
  /** Whether the last message asked for no such answer: more of the same statement follows. */
  unfinished: boolean;
}

const READY_FOR_QUERY = "Z".charCodeAt(0);
const TERMINATE = "X".charCodeAt(0);
const QUERY = "Q".charCodeAt(0);
const SYNC = "S".charCodeAt(0);
const IDLE = "I".charCodeAt(0);

/** Cuts a stream of bytes into whole messages; a startup message has no type byte. */
class Messages {
  #rest: Buffer = Buffer.alloc(0);
  #untyped: boolean;

  constructor(options: { startsUntyped: boolean }) {
    this.#untyped = options.startsUntyped;
  }

  take(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const whole: Buffer[] = [];
    for (let message = this.#next(); message !== undefined; message = this.#next()) whole.push(message);
    return whole;
  }

  #next(): Buffer | undefined {
    const header = this.#untyped ? 0 : 1;
    if (this.#rest.length < header + 4) return undefined;
    const length = header + this.#rest.readInt32BE(header);
    if (this.#rest.length < length) return undefined;
    const message = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    this.#untyped = false;
    return message;
  }
}

export async function startTransactionPooler(options: TransactionPoolerOptions): Promise<TransactionPooler> {
  const target = new URL(options.databaseUrl);
  const pool = new Pool(Number(target.port), options.poolSize);
  const server = createServer({ noDelay: true }, (socket) => pool.welcome(socket));
  const listening = Promise.withResolvers<void>();
  server.listen({ port: 0, host: "127.0.0.1" }, listening.resolve);
  await listening.promise;
  const { port } = server.address() as { port: number };
  return {
    url: Object.assign(new URL(target), { hostname: "127.0.0.1", port: String(port) }).href,
    get switches() {
      return pool.switches;
    },
    stop: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      pool.closeAll();
      await closed.promise;
    },
  };
}

class Pool {
  switches = 0;
  readonly #port: number;
  readonly #size: number;
  readonly #sockets = new Set<Socket>();
  readonly #pooled = new Set<Backend>();
  /** The one that has rested longest comes first. */
  readonly #idle: Backend[] = [];
  readonly #queue: Client[] = [];

  constructor(port: number, size: number) {
    this.#port = port;
    this.#size = size;
  }

  closeAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Passes the login through to a connection of its own. */
  welcome(socket: Socket): void {
    const client: Client = { socket, backend: undefined, last: undefined, waiting: [], owed: 1, unfinished: false };
    const messages = new Messages({ startsUntyped: true });
    client.backend = this.#connect(client);
    this.#keep(socket, () => this.#leave(client));
    let loggedIn = false;
    socket.on("data", (bytes: Buffer) => {
      for (const message of messages.take(bytes)) {
        loggedIn ||= client.backend === undefined;
        if (loggedIn) this.#forward(client, message);
        else client.backend!.socket.write(message);
      }
    });
  }

  #connect(client: Client): Backend {
    const socket = createConnection({ port: this.#port, host: "127.0.0.1", noDelay: true });
    const backend: Backend = { socket, messages: new Messages({ startsUntyped: false }), client };
    this.#keep(socket, () => this.#forget(backend));
    socket.on("data", (bytes: Buffer) => {
      for (const message of backend.messages.take(bytes)) this.#answer(backend, message);
    });
    return backend;
  }

  #keep(socket: Socket, onClose: () => void): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#sockets.delete(socket);
      onClose();
    });
  }

  #forward(client: Client, message: Buffer): void {
    if (message[0] === TERMINATE) {
      client.socket.end();
      return;
    }
    const closesRound = message[0] === SYNC || message[0] === QUERY;
    if (closesRound) client.owed++;
    client.unfinished = !closesRound;
    if (client.backend) client.backend.socket.write(message);
    else if (client.waiting.push(message) === 1) this.#lend(client);
  }

  /** Another one than last time if there is one. */
  #lend(client: Client): void {
    const other = this.#idle.findIndex((backend) => backend !== client.last);
    const [backend] = this.#idle.splice(Math.max(0, other), 1);
    if (!backend) {
      this.#queue.push(client);
      return;
    }
    if (client.last && client.last !== backend) this.switches++;
    backend.client = client;
    client.backend = backend;
    backend.socket.write(Buffer.concat(client.waiting.splice(0)));
  }

  #answer(backend: Backend, message: Buffer): void {
    const { client } = backend;
    if (!client) return;
    client.socket.write(message);
    if (message[0] !== READY_FOR_QUERY) return;
    client.owed--;
    if (message[5] === IDLE && client.owed === 0 && !client.unfinished) this.#release(backend, client);
  }

  #release(backend: Backend, client: Client): void {
    client.backend = undefined;
    client.last = backend;
    backend.client = undefined;
    if (!this.#pooled.has(backend) && this.#pooled.size >= this.#size) {
      backend.socket.end(Buffer.from([TERMINATE, 0, 0, 0, 4]));
      return;
    }
    this.#pooled.add(backend);
    this.#idle.push(backend);
    const next = this.#queue.shift();
    if (next) this.#lend(next);
  }

  #leave(client: Client): void {
    const queued = this.#queue.indexOf(client);
    if (queued >= 0) this.#queue.splice(queued, 1);
    client.backend?.socket.destroy();
  }

  #forget(backend: Backend): void {
    this.#pooled.delete(backend);
    const idle = this.#idle.indexOf(backend);
    if (idle >= 0) this.#idle.splice(idle, 1);
    backend.client?.socket.destroy();
  }
}
