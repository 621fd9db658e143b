/**
 * The leanest Bot API that answers as the real one does: every send is accepted, read and counted, nothing is checked. The
 * sandbox checks everything, which would be what the delivery row measures.
 */
import { answerParent } from "../child.ts";

interface Received {
  accepted: number;
  /** Unix milliseconds, with a fraction; 0 while nothing has come. */
  firstAtMs: number;
  lastAtMs: number;
}

let received: Received = { accepted: 0, firstAtMs: 0, lastAtMs: 0 };

const headers = { "content-type": "application/json" };
const tail = ',"date":1760000000,"chat":{"id":1,"type":"private"},"text":"We miss you"}}';

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request) => {
    await request.text();
    const nowMs = performance.timeOrigin + performance.now();
    if (received.accepted++ === 0) received.firstAtMs = nowMs;
    received.lastAtMs = nowMs;
    return new Response(`{"ok":true,"result":{"message_id":${received.accepted}${tail}`, { headers });
  },
});

answerParent({
  url: () => `http://127.0.0.1:${server.port}`,
  received: () => received,
  forget: () => {
    received = { accepted: 0, firstAtMs: 0, lastAtMs: 0 };
  },
});
