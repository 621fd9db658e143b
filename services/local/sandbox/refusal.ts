/** A call that was not accepted: what is recorded (`kind`) and what is answered. */
export interface Refusal {
  readonly kind: string;
  readonly status: number;
  readonly description: string;
  readonly retryAfterSeconds?: number;
  /** `error_code`, where it is not the status. */
  readonly code?: number;
  /** An answer that is not the Bot API's, as a proxy in front of it gives. */
  readonly foreign?: { readonly body: string; readonly contentType: string; readonly retryAfter?: string };
}

export function badRequest(kind: string, what: string): Refusal {
  return { kind, status: 400, description: `Bad Request: ${what}` };
}

export function tooManyRequests(kind: string, retryAfterSeconds: number): Refusal {
  const description = `Too Many Requests: retry after ${retryAfterSeconds}`;
  return { kind, status: 429, description, retryAfterSeconds };
}

export const unauthorized: Refusal = { kind: "unauthorized", status: 401, description: "Unauthorized" };
export const notFound: Refusal = { kind: "not_found", status: 404, description: "Not Found" };
export const chatNotFound: Refusal = badRequest("chat_not_found", "chat not found");
export const wrongFile: Refusal = badRequest("bad_media", "wrong file identifier/HTTP URL specified");
export const blockedByUser: Refusal = forbidden("blocked", "bot was blocked by the user");
export const tooLarge: Refusal = { kind: "too_large", status: 413, description: "Request Entity Too Large" };

function forbidden(kind: string, what: string): Refusal {
  return { kind, status: 403, description: `Forbidden: ${what}` };
}

/** The errors that a script can ask for by name. `retry_after` and `server_error` carry a number of their own. */
const catalogue = {
  blocked: blockedByUser,
  deactivated: forbidden("deactivated", "user is deactivated"),
  cant_initiate: forbidden("cant_initiate", "bot can't initiate conversation with a user"),
  cant_send: forbidden("cant_send", "bot can't send messages to the user"),
  chat_not_found: chatNotFound,
  parse: badRequest("parse", "can't parse entities: Can't find end of the entity starting at byte offset 0"),
  too_long: badRequest("too_long", "message is too long"),
  caption_too_long: badRequest("caption_too_long", "message caption is too long"),
  empty: badRequest("empty", "message text is empty"),
  bad_button: badRequest("bad_button", "BUTTON_URL_INVALID"),
  bad_media: wrongFile,
  bad_media_url: badRequest("bad_media_url", "failed to get HTTP URL content"),
  bad_media_type: badRequest("bad_media_type", "wrong type of the web page content"),
  bad_dimensions: badRequest("bad_dimensions", "PHOTO_INVALID_DIMENSIONS"),
  too_large: tooLarge,
  unauthorized,
  not_found: notFound,
} as const satisfies Record<string, Refusal>;

export type ErrorName = keyof typeof catalogue | "retry_after" | "server_error";

export const errorNames: readonly ErrorName[] = [
  ...(Object.keys(catalogue) as (keyof typeof catalogue)[]),
  "retry_after",
  "server_error",
];

const serverErrors: Readonly<Record<number, string>> = {
  500: "Internal Server Error: restart",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

export const serverErrorStatuses: readonly number[] = Object.keys(serverErrors).map(Number);

/** The refusal of that name; `seconds` is read by `retry_after` only, `status` by `server_error` only. */
export function refusalFromName(name: ErrorName, seconds = 1, status = 500): Refusal {
  if (name === "retry_after") return tooManyRequests("retry_after", seconds);
  if (name === "server_error") return serverError(status);
  return catalogue[name];
}

/** 502 comes from a proxy in front of the Bot API, so its body is HTML; the others are the API's own JSON. */
function serverError(status: number): Refusal {
  const description = serverErrors[status] ?? serverErrors[500]!;
  const refusal = { kind: "server_error", status, description };
  return status === 502
    ? { ...refusal, foreign: { body: page("502 Bad Gateway"), contentType: "text/html" } }
    : refusal;
}

/** What a web server says by itself. */
function page(title: string): string {
  return `<html><head><title>${title}</title></head><body>${title}</body></html>`;
}

/** Any refusal of Telegram's. */
export function refusalInWords(said: {
  words: string;
  code?: number;
  status?: number;
  retryAfterSeconds?: number;
}): Refusal {
  const { words: description, code = 400, status = code, retryAfterSeconds } = said;
  return { kind: "words", status, code, description, retryAfterSeconds };
}

/** What something in front of Telegram answers; a page of HTML unless it is given. */
export function foreignAnswer(said: {
  http: number;
  body?: string;
  contentType?: string;
  retryAfter?: string;
}): Refusal {
  const { http: status, body = page(`${status}`), contentType = "text/html", retryAfter } = said;
  const seconds = status === 429 && retryAfter !== undefined ? Number(retryAfter) : Number.NaN;
  const retryAfterSeconds = Number.isNaN(seconds) ? undefined : seconds;
  return {
    kind: `http_${status}`,
    status,
    description: "",
    retryAfterSeconds,
    foreign: { body, contentType, retryAfter },
  };
}
