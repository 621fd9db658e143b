import type { Interceptor } from "@connectrpc/connect";
import { DomainError, ErrorReason } from "./domain-error.ts";

/**
 * Refuses a request that holds a NUL character: valid UTF-8, so neither protobuf nor validation minds, but Postgres cannot
 * store it. Unary requests only; none of our streams brings text.
 *
 * Throws DomainError INVALID_ARGUMENT that names the field.
 */
export const nulInterceptor: Interceptor = (next) => async (request) => {
  if (!request.stream) {
    const field = findNul(request.message, "");
    if (field !== undefined) {
      throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: must not hold a NUL character`, { field });
    }
  }
  return await next(request);
};

/** Our messages nest four deep; byte fields are not text. */
function findNul(value: unknown, path: string): string | undefined {
  if (typeof value === "string") return value.includes("\0") ? path : undefined;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const found = findNul(item, `${path}[${index}]`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  for (const [name, item] of Object.entries(value)) {
    if (typeof item === "bigint" || typeof item === "number") continue;
    const found = findNul(item, path === "" ? protoName(name) : `${path}.${protoName(name)}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function protoName(localName: string): string {
  return localName.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
