import { badRequest, type Refusal } from "./refusal.ts";

export interface Entity {
  type: string;
  offset: number;
  length: number;
  url?: string;
  language?: string;
}

const plainTypes = [
  ..."mention hashtag cashtag bot_command url email phone_number bold italic underline strikethrough spoiler".split(
    " ",
  ),
  ..."blockquote expandable_blockquote code pre text_link text_mention custom_emoji".split(" "),
];
const knownTypes = new Set(plainTypes);

/**
 * Checks the entities that a caller gives. Stricter than Telegram, which sorts and cuts quietly: here they must be in
 * range, whole characters, sorted (the wider first), and nested without crossing, so that a sender's mistake shows.
 */
export function checkEntities(text: string, entities: unknown): Refusal | undefined {
  if (!Array.isArray(entities)) return wrong("Array of MessageEntity is expected");
  const open: Entity[] = [];
  let previous: Entity | undefined;
  for (const entity of entities as Entity[]) {
    const problem = shapeProblem(entity) ?? rangeProblem(text, entity) ?? orderProblem(previous, entity);
    if (problem) return wrong(problem);
    while (open.length > 0 && endOf(open.at(-1)!) <= entity.offset) open.pop();
    const around = open.at(-1);
    if (around && endOf(around) < endOf(entity)) return wrong(`Entities cross at offset ${entity.offset}`);
    if (around && isVerbatim(around)) return wrong(`Entity inside ${around.type} at offset ${entity.offset}`);
    open.push(entity);
    previous = entity;
  }
  return undefined;
}

function shapeProblem(entity: Entity | null): string | undefined {
  if (typeof entity !== "object" || entity === null) return "MessageEntity must be an object";
  if (!knownTypes.has(entity.type)) return "Unknown MessageEntity type specified";
  if (!Number.isInteger(entity.offset) || !Number.isInteger(entity.length)) return "Offset and length must be numbers";
  if (entity.type === "text_link" && typeof entity.url !== "string") return "text_link needs a url";
  return undefined;
}

function rangeProblem(text: string, entity: Entity): string | undefined {
  const end = endOf(entity);
  if (entity.offset < 0 || entity.length <= 0 || end > text.length) {
    return `Entity at offset ${entity.offset} with length ${entity.length} is outside of the text`;
  }
  if (splitsCharacter(text, entity.offset))
    return `Entity begins in the middle of a character at offset ${entity.offset}`;
  if (splitsCharacter(text, end)) return `Entity ends in the middle of a character at offset ${end}`;
  return undefined;
}

function orderProblem(previous: Entity | undefined, entity: Entity): string | undefined {
  if (!previous || previous.offset < entity.offset) return undefined;
  if (previous.offset === entity.offset && previous.length >= entity.length) return undefined;
  return `Entities are not sorted at offset ${entity.offset}`;
}

function endOf(entity: Entity): number {
  return entity.offset + entity.length;
}

function isVerbatim(entity: Entity): boolean {
  return entity.type === "code" || entity.type === "pre";
}

/** Between the two halves of a surrogate pair. */
function splitsCharacter(text: string, at: number): boolean {
  return isBetween(text.charCodeAt(at - 1), 0xd800, 0xdbff) && isBetween(text.charCodeAt(at), 0xdc00, 0xdfff);
}

function isBetween(code: number, from: number, to: number): boolean {
  return code >= from && code <= to;
}

function wrong(problem: string): Refusal {
  return badRequest("parse", `can't parse entities: ${problem}`);
}
