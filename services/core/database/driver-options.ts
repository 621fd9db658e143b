import type { DatabaseTarget } from "./target.ts";
import { parseDatabaseUrl } from "./target.ts";
import { tlsOf } from "./tls.ts";

/** What is chosen by us where the URL says nothing. */
export interface DriverDefaults {
  applicationName: string;
  connectTimeoutSeconds: number;
  prepare: boolean;
  maxConnections: number;
}

/**
 * The driver's options for a URL. Nothing is left for the driver to read from it, or from variables of its own.
 *
 * @throws Error with one sentence where the URL cannot be used. A process's configuration has told that before.
 */
export function driverOptions(url: string, defaults: DriverDefaults): DriverOptions {
  const target = parseDatabaseUrl(url);
  if ("wrong" in target) throw new Error(`The database's URL cannot be used: ${target.wrong.join("; ")}.`);
  const { parameters } = target;
  return {
    ...placeOf(target),
    username: target.user,
    password: target.password,
    database: target.database,
    ssl: sslOf(target),
    sslnegotiation: parameters.ssl.direct === true ? "direct" : null,
    connect_timeout: parameters.connectTimeoutSeconds ?? defaults.connectTimeoutSeconds,
    keep_alive: parameters.keepAliveSeconds ?? 60,
    prepare: defaults.prepare && parameters.prepare !== false,
    max:
      parameters.connections === undefined
        ? defaults.maxConnections
        : Math.min(defaults.maxConnections, half(parameters.connections)),
    // Of several hosts, a standby takes no writes.
    target_session_attrs: target.hosts.length > 1 ? "read-write" : null,
    connection: {
      application_name: parameters.applicationName ?? defaults.applicationName,
      ...(parameters.options === undefined ? {} : { options: parameters.options }),
    },
  };
}

/** What the driver understands; its own types know half of it. */
export type DriverOptions = Readonly<Record<string, unknown>>;

/** A process has two clients. */
function half(connections: number): number {
  return Math.floor(connections / 2);
}

function placeOf({ hosts }: DatabaseTarget): { host: string[]; port: number[]; path?: string } {
  const folder = hosts.find(({ host }) => host.startsWith("/"));
  const place = { host: hosts.map(({ host }) => host), port: hosts.map(({ port }) => port) };
  return folder === undefined ? place : { ...place, path: `${folder.host}/.s.PGSQL.${folder.port}` };
}

function sslOf(target: DatabaseTarget): false | "prefer" | object {
  const tls = tlsOf(target);
  if (tls === "none") return false;
  return tls === "optional" ? "prefer" : tls;
}
