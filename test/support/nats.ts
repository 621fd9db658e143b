import { join, resolve } from "node:path";
import { type EmbeddedNats, findNatsServer, startNatsServer } from "#services/local/embedded/nats-server.ts";
import { removeFolder, temporaryFolder } from "./folder.ts";

export interface TestNats {
  /** The same through every restart. */
  readonly url: string;
  readonly pid: number;
  /** Ends it as a power cut would, and leaves it down. */
  kill9(): Promise<void>;
  /** Starts it again on the same port and store, ending it gently first if it runs. */
  restart(): Promise<void>;
  /** Kills it, removes JetStream's whole store, and starts it again on the same port. */
  wipe(): Promise<void>;
  /** Ends it for good and removes its store. Safe twice. */
  stop(): Promise<void>;
}

/** A `nats-server` of the test's own on a free port. It ends with the test process if the test forgets to stop it. */
export async function createTestNats(): Promise<TestNats> {
  const binary = findNatsServer(
    resolve(import.meta.dirname, "..", "..", process.env.LEADCAST_DATA || ".data", "tools"),
  );
  const folder = temporaryFolder("nats");
  const storeDir = join(folder, "store");
  const start = (port?: number): Promise<EmbeddedNats> =>
    startNatsServer({ binary, storeDir, logPath: join(folder, "nats.log"), port });
  let server = await start();
  const { url, port } = server;
  return {
    url,
    get pid() {
      return server.pid;
    },
    kill9: () => server.kill9(),
    restart: async () => {
      await server.stop();
      server = await start(port);
    },
    wipe: async () => {
      await server.kill9();
      removeFolder(storeDir);
      server = await start(port);
    },
    stop: async () => {
      await server.stop();
      removeFolder(folder);
    },
  };
}
