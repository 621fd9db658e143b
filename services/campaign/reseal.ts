/**
 * Seals every stored secret with the first key of SECRET_KEYS. It takes what is sealed with another one, a batch in a transaction, and
 * writes a value only over the one that it has read: so it may be broken off and repeated at any time, also beside itself, PutBot and
 * sending, which reads either. What cannot be opened is left as it is, and named.
 */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { botTokenContext, ownSecretContext, webhookSecretContext } from "#services/platform/secret-contexts.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import { type SealedColumn, selectToReseal, updateResealed } from "./reseal-store.ts";
import { sealPlainSecrets } from "./webhook-secret.ts";

/** Every column that holds sealed values. A test compares it with the schema. */
export const SEALED_COLUMNS: readonly (SealedColumn & { kind: string; contextOf: (key: string) => string })[] = [
  {
    kind: "bot token",
    table: "bot",
    key: "id",
    column: "token_sealed",
    contextOf: (id) => botTokenContext(Number(id)),
  },
  {
    kind: "webhook secret",
    table: "bot",
    key: "id",
    column: "webhook_secret_sealed",
    contextOf: (id) => webhookSecretContext(Number(id)),
  },
  {
    kind: "former webhook secret",
    table: "bot",
    key: "id",
    column: "webhook_former_sealed",
    contextOf: (id) => webhookSecretContext(Number(id)),
  },
  { kind: "secret", table: "sealed_secret", key: "name", column: "sealed", contextOf: ownSecretContext },
];

export interface Unopened {
  kind: string;
  /** The bot's id, or the secret's name. */
  id: string;
  message: string;
}

export interface Resealing {
  resealed: number;
  unopened: Unopened[];
}

/** @param signal ends it between two batches: the next call goes on there. */
export async function resealSecrets(sql: Sql, secretBox: SecretBox, signal?: AbortSignal): Promise<Resealing> {
  noteChange({ object: { kind: "secrets", id: "" }, changes: 0 });
  const resealing: Resealing = { resealed: await sealPlainSecrets(sql, secretBox), unopened: [] };
  for (const column of SEALED_COLUMNS) {
    for (let after: string | undefined = ""; after !== undefined; ) {
      signal?.throwIfAborted();
      after = await resealBatch(sql, secretBox, { column, after, resealing });
    }
  }
  return resealing;
}

interface Batch {
  column: (typeof SEALED_COLUMNS)[number];
  after: string;
  resealing: Resealing;
}

/** @returns where the next batch begins; undefined if there is none. */
async function resealBatch(sql: Sql, secretBox: SecretBox, batch: Batch): Promise<string | undefined> {
  const { column, after, resealing } = batch;
  const found = await selectToReseal(sql, column, { after, prefix: secretBox.currentPrefix });
  if (found.length === 0) return undefined;
  const opened = found.flatMap(({ key, sealed }) => {
    const context = column.contextOf(key);
    try {
      return [{ key, from: sealed, to: secretBox.encrypt(secretBox.decrypt(sealed, context), context) }];
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      resealing.unopened.push({ kind: column.kind, id: key, message: error.message });
      return [];
    }
  });
  resealing.resealed += (await sql.begin(async (tx) => {
    const changes = await updateResealed(tx, column, opened);
    noteChange({ changes });
    return changes;
  })) as number;
  return found.at(-1)?.key;
}
