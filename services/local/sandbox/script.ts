import { answerFields, checkFields, ruleFields } from "./control-fields.ts";
import { methodNames } from "./method-names.ts";
import {
  type ErrorName,
  errorNames,
  foreignAnswer,
  type Refusal,
  refusalFromName,
  refusalInWords,
  serverErrorStatuses,
} from "./refusal.ts";
import { invalid } from "./settings.ts";

/**
 * What a scripted call gets instead of the ordinary answer. With `accepted` the message is taken and recorded first, and
 * only its answer is lost or replaced: what a sender cannot tell from a call that never arrived.
 */
export type Answer =
  | { error: ErrorName; retryAfterSeconds?: number; status?: number; accepted?: boolean }
  /** Telegram's own refusal in any words; `status` is HTTP's, where it is to differ from the code. */
  | { words: string; code?: number; status?: number; retryAfterSeconds?: number; accepted?: boolean }
  /** What something on the way says: any status, any body. */
  | { http: number; body?: string; contentType?: string; retryAfter?: string; accepted?: boolean }
  | { latencyMs: number | readonly [fromMs: number, toMs: number] }
  | { hang: true; accepted?: boolean }
  | { cut: true; accepted?: boolean };

const ANSWER_KINDS = ["error", "words", "http", "latencyMs", "hang", "cut"] as const;

export type AnswerKind = (typeof ANSWER_KINDS)[number];

/** Answers for the calls that match every condition that is given. */
export interface Rule {
  bot?: number;
  /** One chat or several; the rule's `times` is shared between them. */
  chat?: number | readonly number[];
  /** The method's name, or "*" for every method. Default: the three sends. */
  method?: string;
  answer: Answer;
  /** The rule is used up after this many calls. Default: it stays for good. */
  times?: number;
  /** Chance from 0 to 1 that a matching call gets this answer. Default 1. */
  probability?: number;
  /** Makes `probability` and ranges of latency repeatable. Default 1. */
  seed?: number;
}

export interface RuleState extends Rule {
  id: number;
  /** Calls that have got this answer so far. */
  hits: number;
}

/** What one call meets: a delay, and at most one thing in place of its ordinary answer. */
export interface Verdict {
  delayMs: number;
  outcome: { refusal: Refusal; accepted: boolean } | { silence: "hang" | "cut"; accepted: boolean } | undefined;
}

export interface Script {
  /** Adds a rule and returns its id. Throws INVALID_ARGUMENT when it makes no sense. */
  add(rule: Rule): number;
  /** Removes that rule, or all of them; returns how many. */
  remove(id?: number): number;
  rules(): RuleState[];
  /** Uses up one time of each rule that is applied. */
  verdict(bot: number, chat: number | undefined, method: string, isSend: boolean): Verdict | undefined;
}

interface ActiveRule {
  readonly rule: Rule;
  readonly id: number;
  readonly random: () => number;
  readonly method: string | undefined;
  readonly isLatency: boolean;
  hits: number;
}

/**
 * Rules are found by chat first, then by bot, then globally, oldest first. The first latency and the first other answer
 * that match apply. Chats are indexed, so that a rule for each of 100,000 chats costs a call nothing.
 */
export function createScript(): Script {
  const byId = new Map<number, ActiveRule>();
  const byChat = new Map<number, ActiveRule[]>();
  const byBot = new Map<number, ActiveRule[]>();
  let general: ActiveRule[] = [];
  let lastId = 0;

  function add(rule: Rule): number {
    checkRule(rule);
    const active = activeRule(rule, ++lastId);
    byId.set(active.id, active);
    if (rule.chat !== undefined) for (const chat of chatsOf(rule)) push(byChat, chat, active);
    else if (rule.bot !== undefined) push(byBot, rule.bot, active);
    else general.push(active);
    return active.id;
  }

  function drop(active: ActiveRule): void {
    byId.delete(active.id);
    if (active.rule.chat !== undefined) for (const chat of chatsOf(active.rule)) pull(byChat, chat, active);
    else if (active.rule.bot !== undefined) pull(byBot, active.rule.bot, active);
    else general = general.filter((other) => other !== active);
  }

  function remove(id?: number): number {
    const found = id === undefined ? [...byId.values()] : [...byId.values()].filter((active) => active.id === id);
    for (const active of found) drop(active);
    return found.length;
  }

  function verdict(bot: number, chat: number | undefined, method: string, isSend: boolean): Verdict | undefined {
    if (byId.size === 0) return undefined;
    const found: Verdict = { delayMs: 0, outcome: undefined };
    let delayed = false;
    for (const list of [chat === undefined ? undefined : byChat.get(chat), byBot.get(bot), general]) {
      for (const active of list ?? []) {
        const taken = active.isLatency ? delayed : found.outcome !== undefined;
        if (taken || !matches(active, bot, method, isSend)) continue;
        active.hits++;
        if (active.isLatency) delayed = true;
        apply(active, found);
        // The lists are replaced, never changed in place, so dropping while walking them is safe.
        if (active.hits === active.rule.times) drop(active);
      }
    }
    return delayed || found.outcome ? found : undefined;
  }

  return {
    add,
    remove,
    rules: () => [...byId.values()].map(({ rule, id, hits }) => ({ ...rule, id, hits })),
    verdict,
  };
}

function activeRule(rule: Rule, id: number): ActiveRule {
  const random = randomFromSeed(rule.seed ?? 1);
  return { rule, id, random, method: rule.method?.toLowerCase(), isLatency: "latencyMs" in rule.answer, hits: 0 };
}

function matches(active: ActiveRule, bot: number, method: string, isSend: boolean): boolean {
  const { rule } = active;
  if (rule.bot !== undefined && rule.bot !== bot) return false;
  if (active.method === undefined ? !isSend : active.method !== "*" && active.method !== method) return false;
  return rule.probability === undefined || active.random() < rule.probability;
}

function apply(active: ActiveRule, found: Verdict): void {
  const { answer } = active.rule;
  if ("latencyMs" in answer) {
    const range = answer.latencyMs;
    found.delayMs = typeof range === "number" ? range : range[0] + active.random() * (range[1] - range[0]);
    return;
  }
  const accepted = answer.accepted ?? false;
  const refusal = refusalOf(answer);
  if (refusal) found.outcome = { refusal, accepted };
  else found.outcome = { silence: "hang" in answer ? "hang" : "cut", accepted };
}

function refusalOf(answer: Answer): Refusal | undefined {
  if ("error" in answer) return refusalFromName(answer.error, answer.retryAfterSeconds, answer.status);
  if ("words" in answer) return refusalInWords(answer);
  if ("http" in answer) return foreignAnswer(answer);
  return undefined;
}

function checkRule(rule: Rule): void {
  checkFields("rule", rule, ruleFields);
  checkMethod(rule.method);
  const answer: Record<string, unknown> | undefined = rule.answer;
  const kinds = ANSWER_KINDS.filter((kind) => answer?.[kind] !== undefined);
  if (!answer || kinds.length !== 1) throw invalid(`An answer is one of ${ANSWER_KINDS.join(", ")}.`, "answer");
  checkFields("answer", answer, answerFields[kinds[0]!]);
  if (kinds[0] === "error") checkError(answer);
  if (kinds[0] === "words") checkStatuses(answer, ["code", "status"]);
  if (kinds[0] === "http") checkStatuses(answer, ["http"]);
  if (kinds[0] === "latencyMs" && !isLatency(answer.latencyMs)) {
    throw invalid("latencyMs is a number from 0, or a pair of them.", "answer.latencyMs");
  }
  if (rule.times !== undefined && !(Number.isInteger(rule.times) && rule.times > 0)) {
    throw invalid("times is a whole number from 1.", "times");
  }
  if (rule.probability !== undefined && !(rule.probability >= 0 && rule.probability <= 1)) {
    throw invalid("probability is from 0 to 1.", "probability");
  }
}

/** One that nobody calls would never match. */
function checkMethod(method: string | undefined): void {
  if (method === undefined || method === "*") return;
  if (methodNames.some((name) => name.toLowerCase() === method.toLowerCase())) return;
  throw invalid(`There is no method of that name; there are ${methodNames.join(", ")}, and * for all.`, "rule.method");
}

function checkError(answer: Record<string, unknown>): void {
  if (!errorNames.some((name) => name === answer.error)) {
    throw invalid(`There is no error of that name; there are ${errorNames.join(", ")}.`, "answer.error");
  }
  if (answer.status !== undefined && !serverErrorStatuses.some((status) => status === answer.status)) {
    throw invalid(`status is one of ${serverErrorStatuses.join(", ")}.`, "answer.status");
  }
}

/** 1xx is no answer, and Bun sends no other than three digits. */
function checkStatuses(answer: Record<string, unknown>, names: readonly string[]): void {
  for (const name of names) {
    const value = answer[name] ?? 200;
    if (Number.isInteger(value) && Number(value) >= 200 && Number(value) <= 599) continue;
    throw invalid(`${name} is a status from 200 to 599.`, `answer.${name}`);
  }
}

function isLatency(value: unknown): boolean {
  const ends: unknown[] = Array.isArray(value) ? value : [value, value];
  return ends.length === 2 && ends.every((end) => typeof end === "number" && end >= 0) && ends[0]! <= ends[1]!;
}

function chatsOf(rule: Rule): readonly number[] {
  return typeof rule.chat === "number" ? [rule.chat] : (rule.chat ?? []);
}

function push(lists: Map<number, ActiveRule[]>, key: number, active: ActiveRule): void {
  lists.set(key, [...(lists.get(key) ?? []), active]);
}

function pull(lists: Map<number, ActiveRule[]>, key: number, active: ActiveRule): void {
  const rest = (lists.get(key) ?? []).filter((other) => other !== active);
  if (rest.length > 0) lists.set(key, rest);
  else lists.delete(key);
}

/** A 32-bit generator (an LCG with its high bits mixed down): repeatable, and even enough for chances. */
function randomFromSeed(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0;
    return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
  };
}
