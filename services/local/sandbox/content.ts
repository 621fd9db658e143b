import { checkEntities, type Entity } from "./entities.ts";
import { checkReplyMarkup } from "./keyboard.ts";
import { parseLegacyMarkdown } from "./markdown.ts";
import { badRequest, type Refusal } from "./refusal.ts";
import { type Parameters, structureOf, textOf } from "./request.ts";
import type { Settings } from "./settings.ts";

const maxTextUnits = 4_096;
const maxCaptionUnits = 1_024;
/** Telegram takes more entities, and shows the first hundred. */
const maxShownEntities = 100;
/** About where Telegram refuses a message for the size of its entities, nearly all of which is addresses. */
const maxEntityBytes = 9_500;

/** What a message shows, once its entities are parsed. */
export interface Content {
  text: string;
  entities: Entity[] | undefined;
  replyMarkup: unknown;
}

/** Reads text or caption with its entities and the keyboard, and checks all of it that the settings ask for. */
export function contentFromParameters(
  parameters: Parameters,
  isCaption: boolean,
  settings: Settings,
): Content | Refusal {
  const formatted = formattedText(parameters, isCaption, settings);
  if ("kind" in formatted) return formatted;
  const tooLarge = settings.checkEntities ? entitiesRefusal(formatted.entities) : undefined;
  if (tooLarge) return tooLarge;
  const length = settings.checkText ? lengthRefusal(formatted.text, isCaption) : undefined;
  if (length) return length;
  const replyMarkup = structureOf(parameters.reply_markup);
  const keyboard = replyMarkup !== undefined && settings.checkKeyboard ? checkReplyMarkup(replyMarkup) : undefined;
  return keyboard ?? { ...formatted, entities: formatted.entities?.slice(0, maxShownEntities), replyMarkup };
}

function entitiesRefusal(entities: Entity[] | undefined): Refusal | undefined {
  const bytes = (entities ?? []).reduce((sum, { url = "" }) => sum + Buffer.byteLength(url), 0);
  return bytes > maxEntityBytes ? badRequest("entities_too_long", "ENTITIES_TOO_LONG") : undefined;
}

type Formatted = Pick<Content, "text" | "entities">;

/** Given entities win over a parse mode, as in Telegram. */
function formattedText(parameters: Parameters, isCaption: boolean, settings: Settings): Formatted | Refusal {
  const text = textOf(isCaption ? parameters.caption : parameters.text);
  if (!text.isWellFormed()) return badRequest("broken_text", "strings must be encoded in UTF-8");
  const given = structureOf(isCaption ? parameters.caption_entities : parameters.entities);
  const hasEntities = given !== undefined && !(Array.isArray(given) && given.length === 0);
  if (!hasEntities) return textInMode(text, textOf(parameters.parse_mode), settings);
  const refusal = settings.checkEntities ? checkEntities(text, given) : undefined;
  return refusal ?? { text, entities: given as Entity[] };
}

function textInMode(text: string, mode: string, settings: Settings): Formatted | Refusal {
  if (mode === "") return { text, entities: undefined };
  if (mode.toLowerCase() !== "markdown") return badRequest("parse", "unsupported parse_mode");
  const parsed = parseLegacyMarkdown(text);
  if (!("failedAtByte" in parsed)) return parsed;
  if (!settings.checkEntities) return { text, entities: undefined };
  const problem = `Can't find end of the entity starting at byte offset ${parsed.failedAtByte}`;
  return badRequest("parse", `can't parse entities: ${problem}`);
}

function lengthRefusal(text: string, isCaption: boolean): Refusal | undefined {
  if (isCaption) {
    return text.length > maxCaptionUnits ? badRequest("caption_too_long", "message caption is too long") : undefined;
  }
  if (text.trim() === "") return badRequest("empty", "message text is empty");
  return text.length > maxTextUnits ? badRequest("too_long", "message is too long") : undefined;
}
