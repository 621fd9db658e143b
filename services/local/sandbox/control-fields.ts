/** What the objects that controls take may hold. Anything else is refused: passed over, it would mean something else. */
import type { AnswerKind } from "./script.ts";
import { invalid } from "./settings.ts";

interface Field {
  fits: (value: unknown) => boolean;
  /** As in "bot is …". */
  is: string;
}

export type Fields = Readonly<Record<string, Field>>;

const whole: Field = { fits: Number.isSafeInteger, is: "a whole number" };
const amount: Field = {
  fits: (value) => typeof value === "number" && Number.isFinite(value) && value >= 0,
  is: "a number from 0",
};
const fromZero: Field = {
  fits: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  is: "a whole number from 0",
};
const text: Field = { fits: (value) => typeof value === "string", is: "a text" };
const yesOrNo: Field = { fits: (value) => typeof value === "boolean", is: "true or false" };
const yes: Field = { fits: (value) => value === true, is: "true" };
/** Has a check of its own. */
const any: Field = { fits: () => true, is: "anything" };

const wholeOrSome: Field = {
  fits: (value) => (Array.isArray(value) ? value.length > 0 && value.every(whole.fits) : whole.fits(value)),
  is: "a whole number, or a list of them that is not empty",
};

export const queryFields: Fields = { bot: whole, chat: whole, offset: fromZero, limit: fromZero, newest: yesOrNo };
export const botFields: Fields = { username: text, paid: yesOrNo };
export const ruleFields: Fields = {
  bot: whole,
  chat: wholeOrSome,
  method: text,
  answer: any,
  times: any,
  probability: any,
  seed: whole,
};
/** By what an answer is. */
export const answerFields: Readonly<Record<AnswerKind, Fields>> = {
  error: { error: any, retryAfterSeconds: amount, status: any, accepted: yesOrNo },
  words: { words: text, code: any, status: any, retryAfterSeconds: amount, accepted: yesOrNo },
  http: { http: any, body: text, contentType: text, retryAfter: text, accepted: yesOrNo },
  latencyMs: { latencyMs: any },
  hang: { hang: yes, accepted: yesOrNo },
  cut: { cut: yes, accepted: yesOrNo },
};

/**
 * Throws INVALID_ARGUMENT for what is no object, and for a field that is not among them or does not fit. One that is
 * undefined counts as left out.
 */
export function checkFields(name: string, value: unknown, fields: Fields): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(`${name} is a JSON object.`, name);
  }
  for (const [key, given] of Object.entries(value)) {
    const path = `${name}.${key}`;
    if (!Object.hasOwn(fields, key)) {
      throw invalid(`There is no ${path}: ${name} takes ${Object.keys(fields).join(", ")}.`, path);
    }
    const field = fields[key]!;
    if (given !== undefined && !field.fits(given)) throw invalid(`${path} is ${field.is}.`, path);
  }
}
