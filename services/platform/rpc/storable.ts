import type { Interceptor } from "@connectrpc/connect";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { isStorable } from "./time.ts";

/**
 * Refuses a request that holds what Postgres cannot store, in whichever field: a NUL character, which is valid UTF-8 and so
 * passes protobuf and validation, or a Timestamp that is no moment of the years 1970 to 9999. One look at every field
 * serves fields that later versions add, too. Unary requests only: none of our streams brings either.
 *
 * Throws DomainError INVALID_ARGUMENT that names the field.
 */
export const storableInterceptor: Interceptor = (next) => async (request) => {
  if (!request.stream) {
    const found = findUnstorable(request.message, "");
    if (found !== undefined) {
      const { field, problem } = found;
      throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
    }
  }
  return await next(request);
};

interface Unstorable {
  field: string;
  problem: string;
}

/** Our messages nest four deep; byte fields are not text. */
function findUnstorable(value: unknown, path: string): Unstorable | undefined {
  if (typeof value === "string") {
    return value.includes("\0") ? { field: path, problem: "must not hold a NUL character" } : undefined;
  }
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  if (isTimestamp(value)) {
    return isStorable(value) ? undefined : { field: path, problem: "must be a time in the years 1970 to 9999" };
  }
  return Array.isArray(value) ? findInItems(value, path) : findInFields(value, path);
}

function isTimestamp(value: object): value is { seconds: bigint; nanos: number } {
  return "$typeName" in value && value.$typeName === "google.protobuf.Timestamp";
}

function findInItems(items: readonly unknown[], path: string): Unstorable | undefined {
  for (const [index, item] of items.entries()) {
    const found = findUnstorable(item, `${path}[${index}]`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function findInFields(message: object, path: string): Unstorable | undefined {
  for (const [name, item] of Object.entries(message)) {
    if (typeof item === "bigint" || typeof item === "number") continue;
    const found = findUnstorable(item, path === "" ? protoName(name) : `${path}.${protoName(name)}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function protoName(localName: string): string {
  return localName.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
