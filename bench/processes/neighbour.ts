/** Whoever else uses the system: honest, careless or hostile, as a row asks for. Everything goes to this machine alone. */
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { connect as connectTcp } from "node:net";
import { answerParent, childOptions } from "../child.ts";

export type Manner = "honest" | "lists" | "hammer64" | "hammer256" | "bodies" | "uploads" | "resets";

export interface NeighbourOptions {
  gatewayUrl: string;
  /** An RPC port, for the one who resets streams. */
  rpcUrl: string;
  session: string;
  draftId: number;
}

const { gatewayUrl, rpcUrl, session, draftId } = childOptions<NeighbourOptions>();
const authorization = `Bearer ${session}`;

interface Work {
  stop(): Promise<void>;
  readonly done: () => number;
}

/** So many loops, each of which does the next one when the last one has ended. */
function loops(count: number, once: () => Promise<unknown>): Work {
  let going = true;
  let done = 0;
  const loop = async () => {
    while (going) {
      await once().catch(() => Bun.sleep(10));
      done += 1;
    }
  };
  const all = Promise.all(Array.from({ length: count }, loop));
  return {
    done: () => done,
    stop: async () => {
      going = false;
      await all;
    },
  };
}

async function call(path: string, init: RequestInit = {}): Promise<void> {
  const headers = { authorization, ...(init.headers as Record<string, string> | undefined) };
  await (await fetch(gatewayUrl + path, { ...init, headers })).arrayBuffer();
}

const quota = () => call("/api/broadcast/quota.json");
const list = () => call("/api/broadcast/list.json");

/** 20 calls a second, as a busy dashboard makes them. */
async function politely(): Promise<void> {
  await quota();
  await Bun.sleep(50);
}

function saveLargeBody(): Promise<void> {
  const body = JSON.stringify({ id: draftId, text: "a".repeat(255 * 1024) });
  return call("/api/broadcast/edit.json", { method: "POST", body, headers: { "content-type": "application/json" } });
}

/** Eight uploads of which a few bytes come now and then; one that is refused is begun again. */
function uploads(): Work {
  const { hostname, port } = new URL(gatewayUrl);
  const head = `POST /api/media/upload.json HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: ${authorization}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 50000000\r\n\r\n--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`;
  const one = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = connectTcp({ host: hostname, port: Number(port) }, () => socket.write(head));
    const drip = setInterval(() => socket.write("a".repeat(100)), 100);
    open.add(() => socket.destroy());
    socket.on("error", () => {}).on("data", () => socket.destroy());
    socket.on("close", () => {
      clearInterval(drip);
      resolve();
    });
    return promise;
  };
  const open = new Set<() => void>();
  const work = loops(8, one);
  return {
    ...work,
    stop: async () => {
      const stopping = work.stop();
      for (const close of open) close();
      await stopping;
    },
  };
}

/** Opens streams and resets them at once, over as many connections; one that is closed is opened again. */
function resets(connections: number): Work {
  const sessions = new Set<ClientHttp2Session>();
  const burst = async () => {
    const client = connectHttp2(rpcUrl);
    sessions.add(client);
    const closed = Promise.withResolvers<void>();
    client.on("error", () => {}).on("close", () => closed.resolve());
    for (let n = 0; n < 100 && !client.destroyed; n++) {
      const stream = client.request({ ":method": "POST", ":path": "/leadcast.broadcast.v1.BroadcastService/GetQuota" });
      stream.on("error", () => {});
      stream.close(constants.NGHTTP2_CANCEL);
      if (n % 10 === 9) await Bun.sleep(5);
    }
    await Promise.race([closed.promise, Bun.sleep(100)]);
    client.destroy();
    sessions.delete(client);
  };
  const work = loops(connections, burst);
  return {
    ...work,
    stop: async () => {
      const stopping = work.stop();
      for (const client of sessions) client.destroy();
      await stopping;
    },
  };
}

const manners: Readonly<Record<Manner, () => Work>> = {
  honest: () => loops(2, politely),
  lists: () => loops(8, list),
  hammer64: () => loops(64, quota),
  hammer256: () => loops(256, quota),
  bodies: () => loops(8, saveLargeBody),
  uploads,
  resets: () => resets(256),
};

let working: Work | undefined;

async function stop(): Promise<number> {
  const done = working?.done() ?? 0;
  await working?.stop();
  working = undefined;
  return done;
}

answerParent(
  {
    start: (manner: Manner) => {
      working = manners[manner]();
    },
    stop,
  },
  async () => void (await stop()),
);
