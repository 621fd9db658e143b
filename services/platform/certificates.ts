/**
 * Certificates and keys that stand in files, read again when the files change.
 *
 * ```
 *            fit together
 *   files ─────────────────► in use ◄──────────────┐ the files changed, and fit together
 *     │                        │ the files changed │
 *     │ do not                 ▼                   │
 *     └─► the start fails    looked at ────────────┘
 *                              └─ and do not fit: logged once, what is in use stays
 * ```
 *
 * A new pair is written as two files, so one look in between sees halves that do not belong together; the next look sees both.
 * Files are compared by what stands in them: a link that is pointed elsewhere, as Kubernetes does, has an old date.
 */
import type { Logger } from "./log.ts";
import { endOfCertificate, readAuthorities, readKeyPair } from "./pem.ts";

/** Paths. A certificate and its key go together; authorities may stand alone. */
export interface TlsFiles {
  cert?: string | undefined;
  key?: string | undefined;
  /** Authorities whose certificates are accepted from the other side. */
  ca?: string | undefined;
}

/** PEM, as Node and Bun take it. */
export interface TlsMaterial {
  cert?: string;
  key?: string;
  ca?: string;
}

export interface WatchedTls {
  /** What is in use now. */
  readonly current: TlsMaterial;
  /** Called with what comes into use after the first. */
  onChange(use: (material: TlsMaterial) => void): void;
  /** When the certificate that is in use ends, in seconds since 1970; undefined where there is none. */
  readonly endsAt: number | undefined;
  stop(): void;
}

/** The variables that named the files, for messages. */
export type TlsNames = Readonly<Record<keyof TlsFiles, string>>;

/** What a look at the files costs is reading them. */
const LOOK_INTERVAL_MS = 2_000;

/** @returns the files' text, or a line for each that cannot be used. */
export function readTlsFiles(files: TlsFiles, names: TlsNames): { value: TlsMaterial } | { wrong: string[] } {
  const wrong: string[] = [];
  const material: TlsMaterial = {};
  if (files.ca !== undefined) {
    const ca = readAuthorities(files.ca);
    if ("wrong" in ca) wrong.push(`${names.ca}: the file ${ca.wrong}`);
    else material.ca = ca.value;
  }
  if (files.cert !== undefined && files.key !== undefined) {
    const pair = readKeyPair(files.cert, files.key);
    if ("wrong" in pair) wrong.push(`${names[pair.of]}: the file ${pair.wrong}`);
    else Object.assign(material, pair.value);
  } else if (files.cert !== undefined) wrong.push(`${names.key}: is not set, and ${names.cert} needs it`);
  else if (files.key !== undefined) wrong.push(`${names.cert}: is not set, and ${names.key} needs it`);
  return wrong.length > 0 ? { wrong } : { value: material };
}

/** @throws Error where the files do not fit together now. A process's configuration has told that before. */
export function watchTls(files: TlsFiles, names: TlsNames, log: Logger, lookIntervalMs = LOOK_INTERVAL_MS): WatchedTls {
  const first = readTlsFiles(files, names);
  if ("wrong" in first) throw new Error(first.wrong.join("; "));
  const users: ((material: TlsMaterial) => void)[] = [];
  let current = first.value;
  let refused = "";
  const look = () => {
    const read = readTlsFiles(files, names);
    if ("wrong" in read) {
      const why = read.wrong.join("; ");
      if (why !== refused) log.error({ why }, "certificates were changed and cannot be used; the ones before stay");
      refused = why;
      return;
    }
    refused = "";
    if (isSame(read.value, current)) return;
    current = read.value;
    for (const use of users) use(current);
    log.info(
      { files: Object.values(files).filter(Boolean), endsAt: endOf(current) },
      "changed certificates are in use",
    );
  };
  const looks = setInterval(look, lookIntervalMs).unref();
  return {
    get current() {
      return current;
    },
    get endsAt() {
      return endOf(current);
    },
    onChange: (use) => users.push(use),
    stop: () => clearInterval(looks),
  };
}

function isSame(a: TlsMaterial, b: TlsMaterial): boolean {
  return a.cert === b.cert && a.key === b.key && a.ca === b.ca;
}

function endOf({ cert }: TlsMaterial): number | undefined {
  return cert === undefined ? undefined : endOfCertificate(cert) / 1000;
}
