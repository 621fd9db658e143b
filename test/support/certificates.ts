/** Certificates that are made for a test and end with it: a machine that runs the tests need not have openssl. */
import "reflect-metadata";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { temporaryFolder } from "./folder.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 24 * 60 * 60 * 1000;

/** A certificate with its key, as text and as files. */
export interface Issued {
  cert: string;
  key: string;
  certPath: string;
  keyPath: string;
}

export interface IssueOptions {
  /** Common name. */
  name: string;
  /** DNS names and addresses; default: `localhost`, `127.0.0.1` and `::1`. */
  hosts?: string[];
  /** Ended an hour ago. */
  expired?: boolean;
}

export interface TestAuthority {
  /** The authority's own certificate. */
  ca: string;
  caPath: string;
  issue(options: IssueOptions): Promise<Issued>;
}

interface Signer {
  name: string;
  keys: CryptoKeyPair;
}

/** An authority of the test's own, with its files in a folder of their own. */
export async function createAuthority(name = "Leadcast test authority"): Promise<TestAuthority> {
  const folder = temporaryFolder("certificates");
  const signer: Signer = { name: `CN=${name}`, keys: await makeKeys() };
  const ca = await sign(signer, signer.keys.publicKey, signer.name, false, [
    new x509.BasicConstraintsExtension(true, 1, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  ]);
  const caPath = join(folder, "ca.pem");
  writeFileSync(caPath, ca);
  let made = 0;
  return { ca, caPath, issue: (options) => issue(signer, join(folder, String(++made)), options) };
}

async function issue(signer: Signer, path: string, options: IssueOptions): Promise<Issued> {
  const keys = await makeKeys();
  const cert = await sign(signer, keys.publicKey, `CN=${options.name}`, options.expired ?? false, [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
    new x509.SubjectAlternativeNameExtension(hostNames(options.hosts ?? ["localhost", "127.0.0.1", "::1"])),
  ]);
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  const issued = { cert, key: `${key}\n`, certPath: `${path}-cert.pem`, keyPath: `${path}-key.pem` };
  writeFileSync(issued.certPath, issued.cert);
  writeFileSync(issued.keyPath, issued.key, { mode: 0o600 });
  return issued;
}

function hostNames(hosts: string[]): x509.JsonGeneralNames {
  return hosts.map((value) => ({ type: /^[\d.]+$|:/.test(value) ? "ip" : "dns", value }));
}

async function makeKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
}

async function sign(
  issuer: Signer,
  publicKey: CryptoKey,
  subject: string,
  expired: boolean,
  extensions: x509.Extension[],
): Promise<string> {
  const endsInMs = expired ? -dayMs / 24 : dayMs;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `00${randomBytes(8).toString("hex")}`,
    issuer: issuer.name,
    subject,
    notBefore: new Date(Date.now() - 2 * dayMs),
    notAfter: new Date(Date.now() + endsInMs),
    publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: algorithm,
    extensions,
  });
  return `${certificate.toString("pem")}\n`;
}
