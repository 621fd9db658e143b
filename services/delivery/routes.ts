import type { ConnectRouter } from "@connectrpc/connect";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createPreviews, type PreviewOptions } from "./previews.ts";

export function deliveryRoutes(options: PreviewOptions): (router: ConnectRouter) => void {
  const sendPreview = createPreviews(options);
  return (router) => {
    router.service(DeliveryService, {
      sendPreview: async ({ accountId, chatId, text, button, link }) => {
        await sendPreview(Number(accountId), { chatId: Number(chatId), text, button, link });
        return {};
      },
    });
  };
}
