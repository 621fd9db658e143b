// A gRPC client that shares no code with ours, for Node and Bun alike. Arguments: address, token; stdin: the schema as a
// FileDescriptorSet in base64. With TLS_CA, TLS_CERT and TLS_KEY, files, it speaks TLS. Prints one JSON object with what it saw.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, token] = process.argv.slice(2);
const schema = Buffer.from(readFileSync(0, "utf8"), "base64");
const { leadcast, grpc: standard } = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(schema));
const { TLS_CA, TLS_CERT, TLS_KEY } = process.env;
const read = (path) => (path ? readFileSync(path) : null);
const channel = TLS_CA
  ? grpc.credentials.createSsl(read(TLS_CA), read(TLS_KEY), read(TLS_CERT))
  : grpc.credentials.createInsecure();
const accounts = new leadcast.account.v1.AccountService(address, channel);
const broadcasts = new leadcast.broadcast.v1.BroadcastService(address, channel);
const health = new standard.health.v1.Health(address, channel);

function metadata(secret) {
  const values = new grpc.Metadata();
  if (secret !== undefined) values.set("authorization", `Bearer ${secret}`);
  return values;
}

function call(client, method, request, { secret = token, deadlineMs = 10_000 } = {}) {
  const { promise, resolve } = withResolvers();
  client[method](request, metadata(secret), { deadline: Date.now() + deadlineMs }, (error, reply) => {
    const details = error?.metadata?.get("grpc-status-details-bin") ?? [];
    resolve(error ? { code: error.code, message: error.details, details: details.length } : reply);
  });
  return promise;
}

/** Node 20 has no Promise.withResolvers. */
function withResolvers() {
  const parts = {};
  parts.promise = new Promise((resolve) => Object.assign(parts, { resolve }));
  return parts;
}

/** Reads one message, leaves, and says how the stream ended. */
function watch() {
  const { promise, resolve } = withResolvers();
  const stream = broadcasts.watchBroadcast({ account_id: 1, broadcast_id: 8 }, metadata(token));
  stream.on("data", ({ progress }) => {
    stream.on("error", (error) => resolve({ first: progress.pause_reason, code: error.code }));
    stream.cancel();
  });
  return promise;
}

if (process.argv[4] === "once") {
  console.log(JSON.stringify(await call(accounts, "resolveSession", { token: "abcd" })));
  process.exit(0);
}
const seen = {
  resolved: await call(accounts, "resolveSession", { token: "abcd" }),
  missing: await call(accounts, "resolveSession", { token: "abcd" }, { secret: "unknown" }),
  invalid: await call(accounts, "getAccount", { account_id: 0 }),
  notYours: await call(accounts, "getAccount", { account_id: 99 }),
  late: await call(accounts, "getAccount", { account_id: 3 }, { deadlineMs: 200 }),
  large: await call(accounts, "putTariff", { tariff: { name: "x".repeat(5 * 1024 * 1024) } }),
  health: await call(health, "check", { service: "" }),
  watched: await watch(),
};
console.log(JSON.stringify(seen));
for (const client of [accounts, broadcasts, health]) client.close();
