import { connect, type Socket } from "node:net";

/** A TCP connection on which a test says what it likes. */
export interface RawSocket extends AsyncDisposable {
  readonly socket: Socket;
  /** Everything that has come. */
  readonly received: Buffer;
  readonly isClosed: boolean;
  write(bytes: string | Uint8Array): void;
  /** Resolves once what has come satisfies it; also, and then with false, when the connection is closed before. */
  until(satisfied: (received: Buffer) => boolean): Promise<boolean>;
  /** Resolves when the other side has closed. */
  closed(): Promise<Buffer>;
}

/** Longer than anything that a server is waited for; only a test that fails waits for it. */
const deadlineMs = 15_000;

export async function openRawSocket(port: number, host = "127.0.0.1"): Promise<RawSocket> {
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  const watchers = new Set<() => void>();
  let whole: Buffer = Buffer.alloc(0);
  let closed = false;
  const changed = () => {
    for (const watcher of watchers) watcher();
  };
  const end = () => {
    closed = true;
    changed();
  };
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    changed();
  });
  socket.once("end", end);
  socket.once("close", end);
  const connected = Promise.withResolvers<void>();
  socket.once("connect", () => connected.resolve());
  socket.once("close", () => connected.resolve());
  await connected.promise;

  const received = () => {
    if (chunks.length > 0) whole = Buffer.concat([whole, ...chunks.splice(0)]);
    return whole;
  };
  const until = async (satisfied: (bytes: Buffer) => boolean) => {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const look = () => {
      if (satisfied(received())) resolve(true);
      else if (closed) resolve(false);
    };
    const shown = () => received().toString("latin1").slice(0, 300);
    const late = setTimeout(() => reject(new Error(`nothing came for too long after: ${shown()}`)), deadlineMs);
    watchers.add(look);
    look();
    try {
      return await promise;
    } finally {
      clearTimeout(late);
      watchers.delete(look);
    }
  };
  return {
    socket,
    get received() {
      return received();
    },
    get isClosed() {
      return closed;
    },
    write: (bytes) => void socket.write(bytes),
    until,
    closed: async () => {
      await until(() => false);
      return received();
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
    },
  };
}
