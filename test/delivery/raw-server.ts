/** A server that speaks bytes: what it reads of each connection, and whatever a test wants it to answer, when. */
import { createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { eventually } from "../support/eventually.ts";

export interface RawConnection {
  socket: Socket;
  /** All that has come, as bytes in latin1. */
  received: string;
  isClosed: boolean;
}

export interface RawServer extends AsyncDisposable {
  url: string;
  port: number;
  /** In the order in which they were opened. */
  connections: RawConnection[];
  /** Requests whose head has come whole, over all connections. */
  requests(): number;
}

export interface RawOptions {
  /** Called for each piece that comes. */
  onData?: (connection: RawConnection) => void;
  onOpen?: (connection: RawConnection) => void;
  tls?: TlsOptions;
}

export async function startRawServer({ onData, onOpen, tls }: RawOptions): Promise<RawServer> {
  const connections: RawConnection[] = [];
  const accept = (socket: Socket) => {
    const connection: RawConnection = { socket, received: "", isClosed: false };
    connections.push(connection);
    socket.on("error", () => {});
    socket.on("close", () => (connection.isClosed = true));
    socket.on("data", (bytes) => {
      connection.received += bytes.toString("latin1");
      onData?.(connection);
    });
    onOpen?.(connection);
  };
  const server = tls ? createTlsServer(tls, accept) : createServer(accept);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${port}`,
    port,
    connections,
    requests: () => connections.reduce((sum, { received }) => sum + received.split(" HTTP/1.1\r\n").length - 1, 0),
    [Symbol.asyncDispose]: async () => {
      for (const { socket } of connections) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Whether the connection's last request has come whole, going by its content-length. */
export function isWhole({ received }: RawConnection): boolean {
  const at = received.lastIndexOf("POST /");
  const end = received.indexOf("\r\n\r\n", at);
  const length = /content-length: (\d+)/.exec(received.slice(at, end))?.[1];
  return at !== -1 && end !== -1 && received.length - end - 4 >= Number(length);
}

/** Answers each whole request with these bytes. */
export function answering(answer: string): RawOptions {
  return {
    onData: (connection) => {
      if (isWhole(connection)) connection.socket.write(answer, "latin1");
    },
  };
}

export function http(status: string, body: string, headers = ""): string {
  return `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

export async function untilClosed(connection: RawConnection): Promise<void> {
  await eventually(() => connection.isClosed);
}
