import { beforeAll, describe, expect, test } from "bun:test";
import { createConnections } from "#services/delivery/connections.ts";
import { createAuthority, type TestAuthority } from "../support/certificates.ts";
import { answering, http, startRawServer } from "./raw-server.ts";

const OK = http("200 OK", '{"ok":true}');
const request = { path: "/bot1:x/getMe", contentType: "application/json", length: 2, start: "{}", timeoutMs: 5_000 };

let authority: TestAuthority;
let foreign: TestAuthority;
beforeAll(async () => {
  [authority, foreign] = await Promise.all([createAuthority("ours"), createAuthority("another")]);
});

describe("over TLS", () => {
  test("a request goes to a server whose certificate is good, and the connection serves the next", async () => {
    const { cert, key } = await authority.issue({ name: "api" });
    await using server = await startRawServer({ ...answering(OK), tls: { cert, key } });
    const { post } = createConnections(server.url, { tls: { ca: authority.ca } });
    for (let i = 0; i < 3; i++) expect(await post(request)).toMatchObject({ end: "answered", text: '{"ok":true}' });
    expect([server.connections.length, server.requests()]).toEqual([1, 3]);
  });

  test("a body that is taken piece by piece arrives whole", async () => {
    const { cert, key } = await authority.issue({ name: "api" });
    let bytes = 0;
    const length = 8_000_000;
    await using server = await startRawServer({
      tls: { cert, key },
      onData: (connection) => {
        bytes += connection.received.length;
        connection.received = "";
        if (bytes >= length) connection.socket.write(OK);
      },
    });
    async function* rest() {
      for (let sent = 0; sent < length; sent += 1_000_000) yield new Uint8Array(1_000_000);
    }
    const { post } = createConnections(server.url, { tls: { ca: authority.ca } });
    const upload = { ...request, start: new Uint8Array(), length, rest: rest(), timeoutMs: 30_000 };
    expect(await post(upload)).toMatchObject({ end: "answered", status: 200 });
  });

  test.each([
    ["is nobody's that we trust", () => foreign.issue({ name: "api" })],
    ["is another host's", () => authority.issue({ name: "api", hosts: ["other.example"] })],
    ["has expired", () => authority.issue({ name: "api", expired: true })],
  ])("nothing is written to a server whose certificate %s", async (_, issue) => {
    const { cert, key } = await issue();
    await using server = await startRawServer({ ...answering(OK), tls: { cert, key } });
    let written = 0;
    const { post } = createConnections(server.url, { tls: { ca: authority.ca } });
    expect(await post({ ...request, onWritten: () => written++ })).toEqual({ end: "notWritten" });
    expect(written).toBe(0);
    for (const { received } of server.connections) expect(received).toBe("");
  });
});
