import { createHash, createHmac } from "node:crypto";

export type MediaKind = "photo" | "video";

/** All that a file_id stands for. */
export interface StoredFile {
  bot: number;
  kind: MediaKind;
  width: number;
  height: number;
  bytes: number;
  /** Eight bytes of the content's hash: the same for every bot, as Telegram's file_unique_id. */
  content: Buffer;
  /** Rises with every upload, so that older ids can be made to expire. */
  madeAt: number;
}

const payloadBytes = 41;
const signatureBytes = 8;
/** Not a secret: it only tells ids that the sandbox made from ones that it did not. */
const signingKey = "leadcast sandbox file ids";
const kinds: readonly MediaKind[] = ["photo", "video"];

/** The file's facts travel inside the id, so nothing is stored, and an id stays good over a restart as Telegram's does. */
export function fileIdFromFile(file: StoredFile): string {
  const payload = Buffer.alloc(payloadBytes);
  payload.writeUInt8(kinds.indexOf(file.kind), 0);
  payload.writeDoubleBE(file.bot, 1);
  payload.writeUInt32BE(file.width, 9);
  payload.writeUInt32BE(file.height, 13);
  payload.writeDoubleBE(file.bytes, 17);
  file.content.copy(payload, 25);
  payload.writeDoubleBE(file.madeAt, 33);
  return Buffer.concat([payload, signature(payload)]).toString("base64url");
}

/** Undefined for an id that no sandbox made. Whose bot it belongs to is for the caller to check. */
export function fileFromFileId(fileId: string): StoredFile | undefined {
  const bytes = Buffer.from(fileId, "base64url");
  if (bytes.length !== payloadBytes + signatureBytes) return undefined;
  const payload = bytes.subarray(0, payloadBytes);
  if (!signature(payload).equals(bytes.subarray(payloadBytes))) return undefined;
  return {
    kind: kinds[payload.readUInt8(0)]!,
    bot: payload.readDoubleBE(1),
    width: payload.readUInt32BE(9),
    height: payload.readUInt32BE(13),
    bytes: payload.readDoubleBE(17),
    content: payload.subarray(25, 33),
    madeAt: payload.readDoubleBE(33),
  };
}

export function uniqueIdOf(file: StoredFile): string {
  return `AQAD${file.content.toString("base64url")}`;
}

export function contentHash(bytes: Uint8Array | string): Buffer {
  return createHash("sha256").update(bytes).digest().subarray(0, 8);
}

function signature(payload: Buffer): Buffer {
  return createHmac("sha256", signingKey).update(payload).digest().subarray(0, signatureBytes);
}
