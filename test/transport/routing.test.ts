/** Hosts × ports × methods: what the client calls the host changes nothing. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Http1Reply, http1Replies } from "#test/support/http1-replies.ts";
import { openRawSocket } from "#test/support/raw-socket.ts";
import { type PortName, type Ports, portNames, startPorts } from "./ports.ts";

let ports: Ports;
beforeAll(async () => {
  ports = await startPorts();
});
afterAll(async () => {
  await ports[Symbol.asyncDispose]();
});

const methods = ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "get"];

const paths: Readonly<Record<PortName, readonly string[]>> = {
  gateway: [
    ...["/healthz", "/metrics", "/api/metrics", "/api/broadcast/list.json", "/api/x.json", "/docs"],
    ...["/docs/start.js", "/telegram/5", "/", "//metrics"],
  ],
  rpc: [
    ...["/healthz", "/metrics", "/api/metrics", "/", "/nothing"],
    "/leadcast.account.v1.AccountService/ResolveSession",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Check?connect=v1&encoding=json&message=%7B%7D",
  ],
  sandbox: ["/", "/bot7010001:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/getMe", "/_sandbox/address", "/nothing"],
  metrics: ["/metrics", "/healthz", "/api/metrics", "/", "//metrics"],
  "sandbox control": ["/", "/_sandbox/address", "/_sandbox/nothing", "/nothing"],
};

/** What is in a `Host` header, or no header at all over HTTP/1.0. */
const hosts = [
  ...["app", "x", "", "[::1]", "[::1]:8080", "localhost:99999", "http://app", "/metrics", "["],
  ...["a b", "\xff", "x".repeat(255), undefined],
];

/** The answers of every method at every path, in order; the last request ends the connection. */
async function answers(name: PortName, host: string | undefined): Promise<Http1Reply[]> {
  const requests = paths[name].flatMap((path) => methods.map((method) => ({ method, path })));
  if (host === undefined) {
    const replies: Http1Reply[] = [];
    for (const { method, path } of requests) replies.push(...(await exchange(name, [`${method} ${path} HTTP/1.0`])));
    return replies;
  }
  return await exchange(
    name,
    requests.map(({ method, path }) => `${method} ${path} HTTP/1.1\r\nHost: ${host}`),
  );
}

async function exchange(name: PortName, heads: readonly string[]): Promise<Http1Reply[]> {
  await using raw = await openRawSocket(ports[name].port);
  const withoutBody = new Set(heads.flatMap((head, index) => (head.startsWith("HEAD ") ? [index] : [])));
  for (const [index, head] of heads.entries()) {
    const connection = index === heads.length - 1 ? "close" : "keep-alive";
    const fields = `Authorization: ${ports[name].authorization}\r\nConnection: ${connection}\r\nContent-Length: 0`;
    raw.write(Buffer.from(`${head}\r\n${fields}\r\n\r\n`, "latin1"));
  }
  return http1Replies(await raw.closed(), withoutBody);
}

/** What may not differ; a report of metrics is another one each time, and so is a request's id. */
function comparable(replies: readonly Http1Reply[]) {
  return replies.map(({ status, header, body }) => ({
    status,
    type: header.get("content-type"),
    error: header.get("x-error"),
    allow: header.get("allow"),
    body: /^# HELP|^<!doctype html>/.exec(body)?.[0] ?? body,
  }));
}

describe.each(portNames.map((name) => [name] as const))("the port of %s", (name) => {
  test("answers the same whatever the host is called", async () => {
    const expected = comparable(await answers(name, "localhost:8080"));
    expect(expected).toHaveLength(paths[name].length * methods.length);
    expect(expected.filter(({ status }) => status >= 500)).toEqual([]);
    for (const host of hosts) {
      expect({ host, replies: comparable(await answers(name, host)) }).toEqual({ host, replies: expected });
    }
    await ports[name].expectWell();
  });

  test("answers HEAD wherever it answers GET, with the same headers and no body", async () => {
    const replies = await answers(name, "x");
    for (const [index, path] of paths[name].entries()) {
      const [get, head] = replies.slice(index * methods.length) as [Http1Reply, Http1Reply];
      const told = ({ status, header }: Http1Reply) => ({
        path,
        status,
        type: header.get("content-type"),
        length: path === "/metrics" ? undefined : header.get("content-length"),
      });
      expect(told(head)).toEqual(told(get));
    }
  });
});

describe("the gateway", () => {
  test("keeps what a proxy forbids forbidden, by whatever name its path is asked for", async () => {
    const targets = [
      "/api/metrics",
      "/api/../metrics",
      "/api/%2e%2e/metrics",
      "/api\\..\\metrics",
      "//metrics",
      "/metrics/",
    ];
    for (const target of [...targets, "/%6detrics", "/metrics;", "/METRICS", "/api#/metrics", "/.//metrics"]) {
      for (const host of ["x", "/metrics", "localhost"]) {
        const [reply] = await exchange("gateway", [`GET ${target} HTTP/1.1\r\nHost: ${host}`]);
        expect({ target, isMetrics: reply!.body.startsWith("# HELP") }).toEqual({ target, isMetrics: false });
      }
    }
  });
});
