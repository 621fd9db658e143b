import { describe, expect, test } from "bun:test";
import { tryItLines } from "#services/local/supervisor/banner.ts";

/** Answers as the gateway does, and notes what it was asked. */
function fakeGateway() {
  const calls: string[] = [];
  let asked = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      calls.push(`${pathname}${search} ${decodeURIComponent((await request.text()).replaceAll("+", " "))}`.trim());
      if (pathname.endsWith("add.json")) return Response.json({ status: "ok", data: { id: 17 } });
      if (pathname.endsWith("start.json")) return Response.json({ status: "ok", data: { queued: 5 } });
      if (pathname.endsWith("edit.json")) return Response.json({ status: "ok" });
      return Response.json({ status: "ok", data: { id: 17, status: ++asked > 1 ? 2 : 1, statuses: 31 } });
    },
  });
  return { server, calls };
}

describe("tryItLines", () => {
  test.skipIf(Bun.which("curl") === null)(
    "create, start and watch a broadcast when pasted into a POSIX shell",
    async () => {
      const { server, calls } = fakeGateway();
      const script = tryItLines(`http://127.0.0.1:${server.port}`, "token").join("\n");
      const shell = Bun.spawn(["sh", "-c", script], { stdout: "pipe", stderr: "inherit" });
      const [output] = await Promise.all([shell.stdout.text(), shell.exited]);
      await server.stop(true);
      expect(calls.map((call) => call.split(" ")[0])).toEqual([
        "/api/broadcast/add.json",
        "/api/broadcast/edit.json",
        "/api/broadcast/start.json",
        "/api/broadcast/get.json?id=17",
        "/api/broadcast/get.json?id=17",
      ]);
      expect(calls[1]).toContain("text=Hello {user}, *20% off* until Sunday");
      expect(output).toContain('{"status":"ok","data":{"queued":5}}');
      expect(output.trimEnd().split("\n").at(-1)).toContain('"status":2');
    },
  );
});
