/** The variables of RPC ports, and of the processes that call them. */
import { Type } from "@sinclair/typebox";
import { readTlsFiles, type TlsNames, type WatchedTls, watchTls } from "#services/platform/certificates.ts";
import type { Logger } from "#services/platform/log.ts";
import { type RpcEntry, rpcTokensVar, rpcTokenVar, wrongWithOwnSecret } from "#services/platform/variables.ts";

const path = Type.Optional(Type.String());

/** Of a process with an RPC port. */
export const rpcServerVariables = {
  RPC_TOKENS: rpcTokensVar,
  /** Files: the port's certificate and key, and the authorities of its callers' certificates. Without, cleartext. */
  RPC_TLS_CERT: path,
  RPC_TLS_KEY: path,
  RPC_TLS_CLIENT_CA: path,
};

/** Of a process that calls others. */
export const rpcClientVariables = {
  RPC_TOKEN: Type.Optional(rpcTokenVar),
  /** Files: the authorities of the others' certificates (default: the system's), and what is shown to them. */
  RPC_TLS_CA: path,
  RPC_TLS_CLIENT_CERT: path,
  RPC_TLS_CLIENT_KEY: path,
};

type Files = Partial<Record<string, unknown>>;

const serverNames = (start: string): TlsNames => ({
  cert: `${start}_TLS_CERT`,
  key: `${start}_TLS_KEY`,
  ca: `${start}_TLS_CLIENT_CA`,
});
const clientNames: TlsNames = { cert: "RPC_TLS_CLIENT_CERT", key: "RPC_TLS_CLIENT_KEY", ca: "RPC_TLS_CA" };

function filesOf(names: TlsNames, config: Files) {
  const pathOf = (name: string) => config[name] as string | undefined;
  return { cert: pathOf(names.cert), key: pathOf(names.key), ca: pathOf(names.ca) };
}

/** @param start `RPC` or `GATEWAY`. @returns a line for each thing that is wrong with a port's certificates. */
export function wrongWithServerTls(start: "RPC" | "GATEWAY", config: Files): string[] {
  const names = serverNames(start);
  const files = filesOf(names, config);
  const read = readTlsFiles(files, names);
  const alone = files.ca !== undefined && files.cert === undefined && files.key === undefined;
  return [
    ...("wrong" in read ? read.wrong : []),
    ...(alone
      ? [`${names.ca}: asks callers for certificates, which only TLS does: set ${names.cert} and ${names.key}`]
      : []),
  ];
}

/** A port's certificates; undefined for cleartext. */
export function watchServerTls(start: "RPC" | "GATEWAY", config: Files, log: Logger): WatchedTls | undefined {
  const names = serverNames(start);
  const files = filesOf(names, config);
  return files.cert === undefined ? undefined : watchTls(files, names, log);
}

/** @returns a line for each thing that is wrong with what a process shows to those it calls at `urls`, and whom it trusts. */
export function wrongWithClient(
  process: string,
  config: Files & { RPC_TOKEN?: string | undefined; RPC_TOKENS?: readonly RpcEntry[] | undefined },
  refused: ReadonlySet<string>,
  urls: readonly string[],
): string[] {
  const told = refused.has("RPC_TOKEN") || refused.has("RPC_TOKENS");
  const files = filesOf(clientNames, config);
  const given = (["ca", "cert"] as const).find((name) => files[name] !== undefined);
  const addresses = urls.map((name) => config[name]).filter((url) => url !== undefined) as string[];
  const unused = given !== undefined && addresses.length > 0 && !addresses.some((url) => url.startsWith("https:"));
  return [
    ...(told ? [] : wrongWithOwnSecret(process, config)),
    ...wrongWithCallerFiles(config),
    ...(unused ? [`${clientNames[given]}: is not used, because no ${urls.join(" or ")} begins with https://`] : []),
  ];
}

/** @returns a line for each file of a caller's that cannot be used. */
export function wrongWithCallerFiles(config: Files): string[] {
  const read = readTlsFiles(filesOf(clientNames, config), clientNames);
  return "wrong" in read ? read.wrong : [];
}

/** What a caller shows and whom it trusts; undefined where nothing is given. */
export function watchClientTls(config: Files, log: Logger): WatchedTls | undefined {
  const files = filesOf(clientNames, config);
  return files.cert === undefined && files.ca === undefined ? undefined : watchTls(files, clientNames, log);
}

/** @returns a line where the port of metrics is the main one. */
export function wrongWithPorts(start: string, config: Files): string[] {
  const [main, metrics] = [config[`${start}_PORT`], config[`${start}_METRICS_PORT`]];
  if (metrics === undefined || metrics === 0 || main !== metrics) return [];
  return [`${start}_METRICS_PORT: ${metrics} is also ${start}_PORT`];
}
