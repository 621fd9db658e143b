import { createServer } from "node:net";

/** A port on 127.0.0.1 that was free a moment ago. Whoever uses it must be ready to lose the race and ask again. */
export function freePort(): Promise<number> {
  return listenOnce(0);
}

/** Whether a server could listen at that port now. An address that cannot be listened on is not the port's fault. */
export async function isPortFree(port: number, host = loopback): Promise<boolean> {
  return await listenOnce(port, host).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== "EADDRINUSE",
  );
}

const loopback = "127.0.0.1";

function listenOnce(port: number, host = loopback): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer();
  server.once("error", reject);
  server.listen({ port, host, exclusive: true }, () => {
    const address = server.address();
    const bound = typeof address === "object" && address !== null ? address.port : port;
    server.close(() => resolve(bound));
  });
  return promise;
}

/** As `freePort`, several that differ. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}
