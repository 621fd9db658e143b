import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { SecretKey } from "./variables.ts";

/** Encrypts what is stored and must not be readable from a database dump, such as bot tokens. */
export interface SecretBox {
  /** Seals `plain` for one place: `context` (say, `bot/17`) is authenticated, and must be the same to open it. */
  encrypt(plain: string, context: string): string;
  /**
   * Opens what `encrypt` sealed, with whichever key it names.
   * @throws SecretError when the format, the key, the context or the content is wrong. The message never holds content.
   */
  decrypt(sealed: string, context: string): string;
  /** What is sealed with the first key begins with this. */
  readonly currentPrefix: string;
}

/** A sealed value cannot be opened. The message says why, and holds neither the value nor a key. */
export class SecretError extends Error {
  override readonly name = "SecretError";
}

const cipherName = "aes-256-gcm";
/** GCM's native nonce size. A random one is safe for about 2^32 encryptions with one key, far above our bots. */
const nonceBytes = 12;
const tagBytes = 16;
const version = "v1";

/**
 * AES-256-GCM over the given keys. The first encrypts and every one decrypts, so a key is rotated by putting a new one
 * in front. Output is `v1:<keyId>:<base64 of nonce, ciphertext and tag>`.
 */
export function createSecretBox(secretKeys: readonly SecretKey[]): SecretBox {
  const first = secretKeys[0];
  if (first === undefined) throw new SecretError("There is no secret key to encrypt with.");
  const keys = new Map(secretKeys.map(({ id, key }) => [id, key]));
  const currentPrefix = `${version}:${first.id}:`;
  return {
    currentPrefix,
    encrypt: (plain, context) => `${currentPrefix}${seal(first.key, plain, context)}`,
    decrypt: (sealed, context) => {
      const [format, id, body, ...rest] = sealed.split(":");
      if (format !== version || id === undefined || body === undefined || rest.length > 0) {
        throw new SecretError("The sealed value is not in a known format.");
      }
      const key = keys.get(id);
      if (key === undefined) throw new SecretError(`SECRET_KEYS has no key with the id ${JSON.stringify(id)}.`);
      return open(key, body, context);
    },
  };
}

function seal(key: Uint8Array, plain: string, context: string): string {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(cipherName, key, nonce).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64");
}

function open(key: Uint8Array, body: string, context: string): string {
  const bytes = Buffer.from(body, "base64");
  if (bytes.length < nonceBytes + tagBytes) throw new SecretError("The sealed value is cut short.");
  const decipher = createDecipheriv(cipherName, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-tagBytes));
  try {
    const plain = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
    return Buffer.concat([plain, decipher.final()]).toString("utf8");
  } catch {
    throw new SecretError("The sealed value was changed, or belongs to another place or key.");
  }
}
