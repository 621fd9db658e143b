import type { ConnectRouter } from "@connectrpc/connect";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { recordOutside } from "#services/core/audit/record.ts";
import { type CheckTokenOptions, checkToken } from "./check-token.ts";
import { type OperationsOptions, operations } from "./operations.ts";
import { createPreviews, type PreviewOptions } from "./previews.ts";
import { setWebhook, type WebhookOptions } from "./webhooks.ts";

export function deliveryRoutes(
  options: PreviewOptions & WebhookOptions & CheckTokenOptions & OperationsOptions,
): (router: ConnectRouter) => void {
  const sendPreview = createPreviews(options);
  return (router) => {
    router.service(DeliveryService, {
      ...operations(options),
      sendPreview: async ({ accountId, chatId, text, button, link }) => {
        await sendPreview(Number(accountId), { chatId: Number(chatId), text, button, link });
        return {};
      },
      setWebhook: async ({ botId }) => {
        await recordOutside(options.sql, () => setWebhook(options, Number(botId)));
        return {};
      },
      checkToken: async ({ tokenSealed }) => ({ state: await checkToken(options, tokenSealed) }),
    });
  };
}
