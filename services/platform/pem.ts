/** Reads certificates and keys, and says what is wrong with them without showing any of it. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readSmallFile } from "./secret-file.ts";

/** The system's own list of authorities has 250 KB. */
const maxPemBytes = 1024 * 1024;

/** A certificate with what leads up to its authority, and its key. PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

type Pem<T> = { value: T } | { wrong: string };

const certificateBlock = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Certificates of authorities. @returns them, or the end of a sentence about the file. */
export function readAuthorities(path: string): Pem<string> {
  const text = readSmallFile(path, maxPemBytes);
  if ("wrong" in text) return text;
  const parsed = parseCertificates(text.value);
  return "wrong" in parsed ? parsed : { value: text.value };
}

/**
 * A certificate and its key. @returns both, or what is wrong, with the variable or file that it is said of: `cert` or `key`.
 */
export function readKeyPair(
  certPath: string,
  keyPath: string,
  passphrase?: string,
): { value: KeyPair } | { wrong: string; of: "cert" | "key" } {
  const cert = readSmallFile(certPath, maxPemBytes);
  if ("wrong" in cert) return { ...cert, of: "cert" };
  const certificates = parseCertificates(cert.value);
  if ("wrong" in certificates) return { ...certificates, of: "cert" };
  const key = readSmallFile(keyPath, maxPemBytes);
  if ("wrong" in key) return { ...key, of: "key" };
  const wrong = wrongWithKey(certificates.value[0]!, key.value, passphrase);
  if (wrong !== undefined) return { wrong, of: "key" };
  const dated = wrongWithDates(certificates.value[0]!);
  return dated === undefined ? { value: { cert: cert.value, key: key.value } } : { wrong: dated, of: "cert" };
}

function parseCertificates(text: string): Pem<X509Certificate[]> {
  const blocks = text.match(certificateBlock);
  if (blocks === null) return { wrong: "has no certificate in PEM form" };
  try {
    return { value: blocks.map((block) => new X509Certificate(block)) };
  } catch {
    return { wrong: "has a certificate that cannot be read" };
  }
}

function wrongWithKey(certificate: X509Certificate, text: string, passphrase: string | undefined): string | undefined {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) return "has no private key in PEM form";
  try {
    const key = createPrivateKey({ key: text, ...(passphrase === undefined ? {} : { passphrase }) });
    return certificate.checkPrivateKey(key) ? undefined : "has a key that does not belong to the certificate";
  } catch {
    const locked = /ENCRYPTED/.test(text);
    return locked ? "has a key that is locked with a passphrase" : "has a private key that cannot be read";
  }
}

function wrongWithDates(certificate: X509Certificate): string | undefined {
  const now = Date.now();
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  if (now > to) return `has a certificate that expired on ${new Date(to).toISOString()}`;
  return now < from ? `has a certificate that is not valid before ${new Date(from).toISOString()}` : undefined;
}

/** When the first certificate of a text ends, in milliseconds since 1970. */
export function endOfCertificate(pem: string): number {
  return Date.parse(new X509Certificate(pem.match(certificateBlock)![0]).validTo);
}
