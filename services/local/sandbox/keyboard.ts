import { badRequest, type Refusal } from "./refusal.ts";

const maxCallbackBytes = 64;
/** What makes a button of an inline keyboard act, besides `url` and `callback_data`. */
const otherActions = ["web_app", "login_url", "switch_inline_query", "switch_inline_query_current_chat", "copy_text"];

/** Checks `reply_markup`: inline keyboards in full, any other kind only for being an object. */
export function checkReplyMarkup(markup: unknown): Refusal | undefined {
  if (typeof markup !== "object" || markup === null) {
    return badRequest("bad_button", "can't parse reply keyboard markup JSON object");
  }
  const rows = (markup as { inline_keyboard?: unknown }).inline_keyboard;
  if (rows === undefined) return undefined;
  if (!Array.isArray(rows)) return badRequest("bad_button", 'field "inline_keyboard" must be of type Array');
  for (const row of rows) {
    if (!Array.isArray(row)) return badRequest("bad_button", "inline keyboard row must be of type Array");
    for (const button of row) {
      const refusal = checkButton(button);
      if (refusal) return refusal;
    }
  }
  return undefined;
}

function checkButton(button: unknown): Refusal | undefined {
  if (typeof button !== "object" || button === null) {
    return badRequest("bad_button", "InlineKeyboardButton must be an Object");
  }
  const { text, url, callback_data: data } = button as Record<string, unknown>;
  if (typeof text !== "string" || text.trim() === "") return badRequest("bad_button", "BUTTON_TEXT_INVALID");
  if (url !== undefined) return checkUrl(String(url));
  if (data !== undefined) return checkCallbackData(data);
  if (otherActions.some((action) => action in button)) return undefined;
  return badRequest("bad_button", "text buttons are unallowed in the inline keyboard");
}

function checkCallbackData(data: unknown): Refusal | undefined {
  const bytes = typeof data === "string" ? Buffer.byteLength(data) : 0;
  if (bytes >= 1 && bytes <= maxCallbackBytes) return undefined;
  return badRequest("bad_button", "BUTTON_DATA_INVALID");
}

function checkUrl(url: string): Refusal | undefined {
  const problem = urlProblem(url);
  if (!problem) return undefined;
  return badRequest("bad_button", `inline keyboard button URL '${url}' is invalid: ${problem}`);
}

/** Whether Telegram would not take this address for a link. */
export function isWrongUrl(url: string): boolean {
  return urlProblem(url) !== undefined;
}

function urlProblem(url: string): string | undefined {
  const [, scheme, rest] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(url.trim()) ?? [];
  const protocol = (scheme ?? "http").toLowerCase();
  if (protocol === "tg" || protocol === "ton") return rest ? undefined : "URL host is empty";
  if (protocol !== "http" && protocol !== "https") return "Unsupported URL protocol";
  return hostProblem(rest ?? "");
}

function hostProblem(rest: string): string | undefined {
  const authority = /^[^/?#]*/.exec(rest)![0];
  const [, host = "", port] = /^(?:.*@)?(\[.*\]|[^:]*)(?::(.*))?$/s.exec(authority) ?? [];
  if (host === "") return "URL host is empty";
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) <= 65_535)) {
    return "Wrong port number specified in the URL";
  }
  if (host.startsWith("[")) return undefined;
  if (/[\s<>"'\\^`{|}%]/.test(host)) return "Disallowed character in URL host";
  return /[^.]\.[^.]/.test(host) ? undefined : "Wrong HTTP URL";
}
