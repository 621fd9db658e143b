import { join, resolve } from "node:path";
import { type EmbeddedNats, findNatsServer, startNatsServer } from "#services/local/embedded/nats-server.ts";
import { freePorts } from "#services/local/embedded/ports.ts";
import { removeFolder, temporaryFolder } from "./folder.ts";

export interface TestNatsCluster {
  /** All servers, separated by commas. */
  readonly url: string;
  readonly size: number;
  /** Ends one server as a power cut would. */
  kill9(n: number): Promise<void>;
  /** Starts one again, on its ports and its store. */
  restart(n: number): Promise<void>;
  stop(): Promise<void>;
}

/** Three `nats-server`s on loopback that replicate JetStream among them. */
export async function createTestNatsCluster(): Promise<TestNatsCluster> {
  const binary = findNatsServer(
    resolve(import.meta.dirname, "..", "..", process.env.LEADCAST_DATA || ".data", "tools"),
  );
  const folder = temporaryFolder("nats-cluster");
  const ports = await freePorts(6);
  const routes = ports.slice(3);
  const start = (n: number): Promise<EmbeddedNats> =>
    startNatsServer({
      binary,
      storeDir: join(folder, `store-${n}`),
      logPath: join(folder, `nats-${n}.log`),
      port: ports[n],
      cluster: { serverName: `node-${n}`, port: routes[n]!, routes },
    });
  const servers = await Promise.all([0, 1, 2].map(start));
  return {
    url: servers.map((server) => server.url).join(","),
    size: servers.length,
    kill9: (n) => servers[n]!.kill9(),
    restart: async (n) => {
      servers[n] = await start(n);
    },
    stop: async () => {
      await Promise.all(servers.map((server) => server.stop()));
      removeFolder(folder);
    },
  };
}
