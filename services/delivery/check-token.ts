import { TokenState } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { TOKEN_CHECK_CONTEXT } from "#services/core/bot/number.ts";
import type { SecretBox } from "#services/platform/secrets.ts";
import { outcomeOf } from "./outcome.ts";
import type { BotApi } from "./telegram.ts";

export interface CheckTokenOptions {
  api: Pick<BotApi, "getMe">;
  secretBox: Pick<SecretBox, "decrypt">;
}

/** Asks getMe about a token that was sealed for this question. Only the Bot API's own yes or no counts as one. */
export async function checkToken({ api, secretBox }: CheckTokenOptions, tokenSealed: string): Promise<TokenState> {
  const { outcome } = outcomeOf(await api.getMe(secretBox.decrypt(tokenSealed, TOKEN_CHECK_CONTEXT)));
  if (outcome === "sent") return TokenState.ALIVE;
  return outcome === "bot" ? TokenState.DEAD : TokenState.UNSPECIFIED;
}
