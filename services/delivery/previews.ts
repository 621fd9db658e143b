/** Previews: the body with sample values, through the service bot, to the account's own chat. */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { checkBody, checkSendable } from "#services/core/message/body.ts";
import { sampleMacroValues } from "#services/core/message/macros.ts";
import { renderMessage } from "#services/core/message/render.ts";
import type { Clock } from "#services/platform/clock.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import type { BotApiReply } from "./outcome.ts";
import { takePreviewTurn } from "./store.ts";
import type { BotApi } from "./telegram.ts";

export interface PreviewOptions {
  sql: Sql;
  api: BotApi;
  serviceBotToken: string;
  clock: Clock;
}

export interface Preview {
  chatId: number;
  text: string;
  button: string;
  link: string;
}

/** Between two previews of one account. */
const PREVIEW_INTERVAL_SECONDS = 2;

/**
 * Sends a preview: text and button only, no unsubscribe row, one attempt. Throws DomainError RATE_LIMITED, BODY_INVALID,
 * TELEGRAM_REFUSED (with Telegram's own words) or UNAVAILABLE.
 */
export function createPreviews(options: PreviewOptions): (accountId: number, preview: Preview) => Promise<void> {
  const { sql, api, serviceBotToken, clock } = options;
  return async (accountId, { chatId, text, button, link }) => {
    const body = { text, button, link, media: "", mediaType: 0 } as const;
    const parsed = checkBody(body);
    checkSendable(body);
    if (!(await takeTurn(sql, accountId))) {
      throw new DomainError(ErrorReason.RATE_LIMITED, "One preview in 2 seconds: try again in a moment.");
    }
    const values = sampleMacroValues({ chat: String(chatId), time: String(Math.floor(clock.now() / 1000)) });
    const message = renderMessage({ parsed, button, link, mediaType: 0, values });
    refuseUnlessSent(await api.send(serviceBotToken, { ...message, chatId, media: "", mediaType: 0 }));
  };
}

async function takeTurn(sql: Sql, accountId: number): Promise<boolean> {
  return (await sql.begin(async (tx) => {
    const taken = await takePreviewTurn(tx, accountId, PREVIEW_INTERVAL_SECONDS);
    noteChange({ changes: taken ? 1 : 0 });
    return taken;
  })) as boolean;
}

function refuseUnlessSent(reply: BotApiReply): void {
  if (reply.answer === "ok") return;
  if (reply.answer === "error") {
    throw new DomainError(ErrorReason.TELEGRAM_REFUSED, `Telegram refused the preview: ${reply.description}`);
  }
  throw new DomainError(
    ErrorReason.UNAVAILABLE,
    reply.answer === "refused" || reply.answer === "fault"
      ? "Telegram cannot be reached: try again."
      : "Telegram did not answer: look into your chat whether the preview came, and try again.",
  );
}
