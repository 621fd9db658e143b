/** Codes of what goes wrong between two sides of TLS, as OpenSSL and BoringSSL, and so Node, Bun and their fetch, name it. */
const tlsCodes = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REVOKED",
  "CERT_REJECTED",
  "CERT_UNTRUSTED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_CHAIN_TOO_LONG",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNKNOWN_CERTIFICATE_VERIFICATION_ERROR",
  "EPROTO",
]);

/** Whether an error says that certificates or the protocol do not fit: trying again does not help, renewing one does. */
export function isTlsFailure(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return (
    typeof code === "string" && (tlsCodes.has(code) || code.startsWith("ERR_SSL_") || code.startsWith("ERR_OSSL_"))
  );
}
