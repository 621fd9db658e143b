/** A TCP proxy that stands between two processes and treats their connections badly when it is told to. */
import { connect as connectTo, createServer, type Server, type Socket } from "node:net";

export interface TcpProxy {
  readonly port: number;
  /** Resets every open connection. New ones are taken. */
  cut(): void;
  /** Holds every byte back for this long, in order; 0 for none. */
  delay(ms: number): void;
  /** Holds what goes to the target back for a random time of at most this, in order within each connection; 0 for none. */
  jitter(ms: number): void;
  /**
   * A partition: open connections stay open, and nothing passes. What was sent meanwhile comes when it is over, as TCP would
   * deliver it.
   */
  partition(on: boolean): void;
  /** Answers are lost for good on the connections that are open now, while requests still arrive. New ones work. */
  halfOpen(): void;
  /** Ends partition, delay and jitter. Connections that were made half-open are reset. */
  heal(): void;
  stop(): Promise<void>;
}

interface Link {
  client: Socket;
  target: Socket;
  mute: boolean;
  /** What waits for its jitter, in order, and when the last of it is due. */
  waiting: (() => void)[];
  dueAtMs: number;
}

/** Forwards to a port of this machine. `targetPort` is asked for each connection, so that a target may move. */
export async function createTcpProxy(targetPort: () => number): Promise<TcpProxy> {
  const links = new Set<Link>();
  const held: (() => void)[] = [];
  let delayMs = 0;
  let jitterMs = 0;
  let parted = false;

  /** Order is kept: timers of the same length fire in the order in which they were set. */
  function pass(write: () => void): void {
    if (parted) held.push(write);
    else if (delayMs > 0) setTimeout(() => pass2(write), delayMs);
    else write();
  }
  /** Each timer lets the oldest go: so order does not hang on how timers round. */
  function jittered(link: Link, write: () => void): void {
    if (jitterMs === 0 && link.waiting.length === 0) {
      pass(write);
      return;
    }
    const now = performance.now();
    link.dueAtMs = Math.max(link.dueAtMs, now + Math.random() * jitterMs);
    link.waiting.push(write);
    setTimeout(() => pass(link.waiting.shift()!), link.dueAtMs - now);
  }
  function pass2(write: () => void): void {
    if (parted) held.push(write);
    else write();
  }
  function release(): void {
    for (const write of held.splice(0)) write();
  }

  function join(client: Socket): void {
    const target = connectTo({ port: targetPort(), host: "127.0.0.1", noDelay: true });
    const link: Link = { client, target, mute: false, waiting: [], dueAtMs: 0 };
    links.add(link);
    client.setNoDelay(true);
    const end = () => {
      links.delete(link);
      client.destroy();
      target.destroy();
    };
    client.on("data", (bytes) => jittered(link, () => target.write(bytes)));
    target.on("data", (bytes) => pass(() => link.mute || client.write(bytes)));
    for (const socket of [client, target]) {
      socket.on("error", end);
      socket.on("close", () => (link.mute && socket === target ? undefined : pass(end)));
    }
  }

  const server = createServer(join);
  const port = await listen(server);
  const cut = (some: Iterable<Link> = links) => {
    for (const { client, target } of [...some]) {
      client.resetAndDestroy();
      target.destroy();
    }
  };
  return {
    port,
    cut: () => cut(),
    delay: (ms) => {
      delayMs = ms;
    },
    jitter: (ms) => {
      jitterMs = ms;
    },
    partition: (on) => {
      parted = on;
      if (!on) release();
    },
    halfOpen: () => {
      for (const link of links) link.mute = true;
    },
    heal: () => {
      delayMs = 0;
      jitterMs = 0;
      parted = false;
      release();
      cut([...links].filter((link) => link.mute));
    },
    stop: async () => {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function listen(server: Server): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen({ port: 0, host: "127.0.0.1" }, () => {
    const address = server.address();
    if (address !== null && typeof address === "object") resolve(address.port);
  });
  return promise;
}
