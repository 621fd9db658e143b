/** The methods that the sandbox answers, as Telegram spells them. */
export const methodNames = [
  "sendMessage",
  "sendPhoto",
  "sendVideo",
  "getMe",
  "answerCallbackQuery",
  "setWebhook",
  "deleteWebhook",
  "getWebhookInfo",
] as const;

export type MethodName = (typeof methodNames)[number];
