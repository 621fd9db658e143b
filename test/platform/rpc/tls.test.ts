import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Health } from "#gen/grpc/health/v1/health_pb.ts";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { type TlsMaterial, type WatchedTls, watchTls } from "#services/platform/certificates.ts";
import { clientAuthInterceptor } from "#services/platform/rpc/auth.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { descriptorSet, fullToken, startAccountServer } from "#test/platform/account-server.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { createAuthority, type Issued, type TestAuthority } from "#test/support/certificates.ts";
import { eventually } from "#test/support/eventually.ts";
import { temporaryFolder } from "#test/support/folder.ts";

const names = { cert: "RPC_TLS_CERT", key: "RPC_TLS_KEY", ca: "RPC_TLS_CLIENT_CA" };

let authority: TestAuthority;
let stranger: TestAuthority;
const issued: Record<"server" | "client" | "expired" | "foreign", Issued> = {} as never;

beforeAll(async () => {
  [authority, stranger] = await Promise.all([createAuthority(), createAuthority("Stranger")]);
  issued.server = await authority.issue({ name: "server" });
  issued.client = await authority.issue({ name: "client" });
  issued.expired = await authority.issue({ name: "expired", expired: true });
  issued.foreign = await stranger.issue({ name: "foreign" });
});

/** Material that is not looked at: also what a process would refuse to start with. */
function fixed(current: TlsMaterial): WatchedTls {
  return { current, endsAt: undefined, onChange: () => {}, stop: () => {} };
}

function shown(pair: Issued | undefined, ca = authority.ca): TlsMaterial {
  return { ca, ...(pair === undefined ? {} : { cert: pair.cert, key: pair.key }) };
}

async function startServer(material: TlsMaterial = { ...shown(issued.server) }) {
  const world = await startAccountServer({ tls: fixed(material) });
  return { ...world, url: `https://localhost:${world.server.port}` };
}

type Protocol = "ours" | "connect" | "connect over HTTP/2" | "grpc" | "grpc-web" | "grpc-web over HTTP/2";
const protocols: Protocol[] = ["ours", "connect", "connect over HTTP/2", "grpc", "grpc-web", "grpc-web over HTTP/2"];

function transportOf(protocol: Protocol, baseUrl: string, tls: TlsMaterial): Transport {
  const common = { baseUrl, nodeOptions: tls, interceptors: [clientAuthInterceptor(fullToken)] };
  switch (protocol) {
    case "ours":
      return createRpcTransport({ baseUrl, token: fullToken, tls: fixed(tls) });
    case "connect":
      return createConnectTransport({ ...common, httpVersion: "1.1" });
    case "connect over HTTP/2":
      return createConnectTransport({ ...common, httpVersion: "2" });
    case "grpc":
      return createGrpcTransport(common);
    case "grpc-web":
      return createGrpcWebTransport({ ...common, httpVersion: "1.1" });
    case "grpc-web over HTTP/2":
      return createGrpcWebTransport({ ...common, httpVersion: "2" });
    default:
      return protocol satisfies never;
  }
}

async function failureOf(transport: Transport): Promise<ConnectError> {
  try {
    await createClient(AccountService, transport).resolveSession({ token: "abcd" });
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("The call went through.");
}

describe("an RPC port with TLS that asks for client certificates", () => {
  test.each(protocols)("serves %s", async (protocol) => {
    await using world = await startServer();
    const transport = transportOf(protocol, world.url, shown(issued.client));
    expect(await createClient(AccountService, transport).resolveSession({ token: "abcd" })).toMatchObject({
      accountId: 4n,
    });
    const stream = createClient(BroadcastService, transport).watchBroadcast({ accountId: 1n, broadcastId: 8n });
    for await (const { progress } of stream) {
      expect(progress!.pauseReason).toBe("8");
      break;
    }
  });

  test.each([process.execPath, "node"])("serves grpc-js, run by %s, and tells it what is missing", async (runtime) => {
    await using world = await startServer();
    const schema = Buffer.from(descriptorSet(AccountService.file, BroadcastService.file, Health.file)).toString(
      "base64",
    );
    const call = async (pair: Issued | undefined) => {
      const env = {
        ...process.env,
        TLS_CA: authority.caPath,
        TLS_CERT: pair?.certPath ?? "",
        TLS_KEY: pair?.keyPath ?? "",
      };
      const script = join(import.meta.dirname, "grpc-js-client.mjs");
      const command = [runtime, script, `localhost:${world.server.port}`, fullToken, "once"];
      const child = Bun.spawn(command, { stdin: new Blob([schema]), stdout: "pipe", stderr: "inherit", env });
      return JSON.parse(await child.stdout.text());
    };
    expect(await call(issued.client)).toMatchObject({ account_id: { low: 4 } });
    expect(await call(undefined)).toMatchObject({ code: 16, message: expect.stringContaining("none was shown") });
  });

  test.skipIf(Bun.which("curl") === null)("serves curl", async () => {
    await using world = await startServer();
    const command = [
      "curl",
      "-s",
      "--cacert",
      authority.caPath,
      "--cert",
      issued.client.certPath,
      "--key",
      issued.client.keyPath,
    ];
    const child = Bun.spawn([...command, `${world.url}/healthz`], { stdout: "pipe" });
    expect(await child.stdout.text()).toBe('{"ready":true}');
  });

  const refusals: [string, () => Issued | undefined, string][] = [
    ["none", () => undefined, "asks for a client certificate, and none was shown"],
    ["an expired one", () => issued.expired, "has expired"],
    ["another authority's", () => issued.foreign, "of no authority that this port accepts"],
  ];
  test.each(protocols.flatMap((protocol) => refusals.map((refusal) => [protocol, ...refusal] as const)))(
    "tells %s, which shows %s, what is wrong",
    async (protocol, _, pair, why) => {
      await using world = await startServer();
      const error = await failureOf(transportOf(protocol, world.url, shown(pair())));
      expect(error.code).toBe(Code.Unauthenticated);
      expect(error.rawMessage).toContain(why);
      expect(world.calls()).toBe(0);
    },
  );

  test("lets nobody in by a resumed session", async () => {
    await using world = await startServer();
    const { port } = world.server;
    const once = (session?: Buffer) => {
      const { promise, resolve, reject } = Promise.withResolvers<{ text: string; session: Buffer | undefined }>();
      const socket = connectTls({ host: "127.0.0.1", servername: "localhost", port, ca: authority.ca, session });
      let [text, kept] = ["", undefined as Buffer | undefined];
      socket.on("session", (given) => {
        kept = given;
      });
      socket.on("secureConnect", () => socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
      socket.on("data", (bytes) => {
        text += bytes.toString();
      });
      socket.on("error", reject);
      socket.on("close", () => resolve({ text, session: kept }));
      return promise;
    };
    const first = await once();
    expect(first.text).toStartWith("HTTP/1.1 401 ");
    expect((await once(first.session)).text).toStartWith("HTTP/1.1 401 ");
  });
});

describe("a caller that is set up wrongly", () => {
  test.each([
    ["trusts another authority", () => issued.server, () => stranger.ca, "certificate"],
    ["meets an expired certificate", () => issued.expired, () => authority.ca, "expired"],
  ])("and %s is told so, as a service that is away", async (_, serverPair, ca, why) => {
    await using world = await startServer({ cert: serverPair().cert, key: serverPair().key });
    const error = await failureOf(transportOf("ours", world.url, { ca: ca() }));
    expect(error.message).toContain(why);
    expect(reasonFromError(error).reason as number).toBe(
      reasonFromError(new ConnectError("x", Code.Unavailable)).reason,
    );
  });

  test("speaks cleartext to TLS, or TLS to cleartext, and is told that the service is away", async () => {
    await using tls = await startServer();
    await using plain = await startAccountServer();
    for (const url of [`http://localhost:${tls.server.port}`, `https://localhost:${plain.server.port}`]) {
      const error = await failureOf(transportOf("ours", url, shown(issued.client)));
      expect(reasonFromError(error).reason as number).toBe(
        reasonFromError(new ConnectError("x", Code.Unavailable)).reason,
      );
    }
    await eventually(async () => tls.log.text().includes("its URL must begin with https"));
  });
});

describe("certificates in files", () => {
  const folder = temporaryFolder("tls-reload");
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem"), ca: join(folder, "ca.pem") };
  const write = (name: keyof typeof files, text: string) => {
    writeFileSync(`${files[name]}.new`, text);
    renameSync(`${files[name]}.new`, files[name]);
  };
  const log = captureLog();
  let tls: WatchedTls;
  afterAll(() => tls?.stop());

  /** The common name of the certificate that a new connection meets. */
  const metBy = (port: number) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { client } = issued;
    const options = { host: "localhost", port, path: "/healthz", ca: authority.ca, cert: client.cert, key: client.key };
    const request = httpsRequest({ ...options, agent: false }, (response) => {
      const socket = response.socket as import("node:tls").TLSSocket;
      resolve(`${socket.getPeerCertificate().subject.CN} ${response.statusCode}`);
      response.resume();
    });
    request.on("error", reject);
    request.end();
    return promise;
  };

  test("are used when they change, and a bad pair keeps the one before", async () => {
    const next = await authority.issue({ name: "renewed" });
    write("cert", issued.server.cert);
    write("key", issued.server.key);
    write("ca", authority.ca);
    tls = watchTls(files, names, log.log, 20);
    await using world = await startAccountServer({ tls });
    const { port } = world.server;
    expect(await metBy(port)).toBe("server 200");

    write("cert", next.cert);
    await eventually(async () => log.text().includes("the ones before stay"));
    expect(log.text()).toContain("RPC_TLS_KEY: the file has a key that does not belong to the certificate");
    expect(await metBy(port)).toBe("server 200");

    write("key", next.key);
    await eventually(async () => (await metBy(port)) === "renewed 200");
    write("key", "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n");
    await eventually(async () => log.text().includes("has a private key that cannot be read"));
    expect(await metBy(port)).toBe("renewed 200");

    write("key", next.key);
    write("ca", stranger.ca);
    await eventually(async () => (await metBy(port)) === "renewed 401");
    expect(log.text()).not.toContain("PRIVATE KEY");
  });
});
