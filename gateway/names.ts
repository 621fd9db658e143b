/**
 * Which names a call understands. The rule: **no name is ignored where that could widen what is chosen.** To ignore
 * `campaigns[]=1` would send to all campaigns.
 *
 * | where a name stands | a parameter of the call | any other |
 * | --- | --- | --- |
 * | body of a POST | read | refused, but for what a reply has and what chooses nothing (`readBack`) |
 * | query of a POST | refused, also when spelt otherwise: its place is the body | as in a GET, but for what chooses |
 * | query of a GET | read | ignored; a strict call ignores only what defeats caches (`cacheBusters`) |
 *
 * A list comes as `name=1,2`, as a JSON array, as `name[]=1&name[]=2` or as `name[0]=1&name[1]=2`. One call uses one of
 * the four: of two it is a guess whether they were meant to add up.
 */
import type { Form, FormValue } from "./form.ts";
import { RestError } from "./rest-error.ts";
import { shownName } from "./shown-name.ts";

/** What names.ts has to know of an endpoint. */
export interface NameRules {
  readonly method: "GET" | "POST";
  /** Whether unknown names in the query are refused. */
  readonly strictQuery: boolean;
  readonly params: Readonly<Record<string, { readonly isList?: boolean }>>;
}

/**
 * What get.json and camp/broadcast.json return and what chooses neither leads nor a broadcast nor a campaign: a client
 * may send back what it has read.
 */
export const readBack: ReadonlySet<string> = new Set([
  ...["name", "status", "text", "media", "media_type", "button", "link", "on", "delay"],
  ...["total", "remaining", "queued", "sent", "failed", "started", "created"],
]);

/** The other names that those two return: each says whom or which, so none is ignored by a POST, in its query either. */
export const choosing: readonly string[] = "id statuses campaigns created_from created_to status_from status_to".split(
  " ",
);

/** Put into addresses so that no cache answers. */
export const cacheBusters: ReadonlySet<string> = new Set(["_", "t", "ts", "v"]);

/** An index says where in the list an id stood; as many as a list may have ids. */
const listIndex = /^(?:0|[1-9][0-9]{0,2})$/;

/** The parameters by their names, lists gathered. @throws RestError `func` that names what is not understood. */
export function namedValues(rules: NameRules, form: Form): Form {
  const values = new Map<string, FormValue>();
  const lists = new Map<string, Map<string, FormValue>>();
  for (const [name, value] of form) {
    const list = listOf(name, rules);
    if (list !== undefined) (lists.get(list) ?? setDefault(lists, list)).set(name, value);
    else if (Object.hasOwn(rules.params, name)) values.set(name, value);
    else refuseUnlessIgnored(name, rules);
  }
  for (const [name, parts] of lists) values.set(name, gathered(name, parts));
  return values;
}

function setDefault(lists: Map<string, Map<string, FormValue>>, name: string): Map<string, FormValue> {
  const parts = new Map<string, FormValue>();
  lists.set(name, parts);
  return parts;
}

/** A POST's parameters are those of its body: one that stands in the query is not lost without a word. */
export function checkPostQuery(rules: NameRules, query: ReadonlySet<string>): void {
  for (const name of query) {
    const meant = Object.keys(rules.params).find((param) => looksLike(name, param));
    if (meant !== undefined) {
      throw refusal(`${shownName(name)} stands in the query: a POST takes ${meant} from its body.`);
    }
    const mayChoose = choosing.some((param) => looksLike(name, param));
    if (mayChoose || (rules.strictQuery && !cacheBusters.has(name))) throw unknown(name, rules);
  }
}

/** `Campaigns`, `campaigns[0]`, `campaigns.0` and `camp aigns` for `campaigns`. */
function looksLike(name: string, param: string): boolean {
  const [base = ""] = name.normalize("NFKC").split(/[[.]/, 1);
  return letters(base) === letters(param);
}

function letters(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}

/** The list parameter that a name belongs to, or undefined. */
function listOf(name: string, { params }: NameRules): string | undefined {
  const base = name.split("[", 1)[0]!;
  if (!Object.hasOwn(params, base) || params[base]!.isList !== true) return undefined;
  return name === base || name === `${base}[]` || listIndex.test(indexOf(name, base)) ? base : undefined;
}

function indexOf(name: string, base: string): string {
  return name.endsWith("]") ? name.slice(base.length + 1, -1) : "";
}

/** The one value of a list parameter, however it was written. */
function gathered(name: string, parts: ReadonlyMap<string, FormValue>): FormValue {
  const forms = new Set([...parts.keys()].map((part) => part.replace(/[0-9]+\]$/, "0]")));
  if (forms.size > 1) throw refusal(`${name} is written in more than one way (${[...forms].join(", ")}): use one.`);
  if (parts.has(name)) return parts.get(name)!;
  if (parts.has(`${name}[]`)) return { kind: "list", items: allItems(name, parts.get(`${name}[]`)!) };
  return { kind: "list", items: [...parts].map(([part, value]) => oneItem(part, value)) };
}

function allItems(name: string, value: FormValue): readonly string[] {
  if (value.kind === "repeated") return value.values.map((item) => oneItem(`${name}[]`, item));
  return value.kind === "list" ? value.items : [oneItem(`${name}[]`, value)];
}

function oneItem(name: string, value: FormValue): string {
  if (value.kind === "text") return value.text;
  throw refusal(value.kind === "repeated" ? `${name} is given more than once.` : `${name} must be one id.`);
}

function refuseUnlessIgnored(name: string, rules: NameRules): void {
  const { method, strictQuery } = rules;
  if (method === "POST" ? readBack.has(name) : !strictQuery || cacheBusters.has(name)) return;
  throw unknown(name, rules);
}

function unknown(name: string, { params }: NameRules): RestError {
  const base = name.split("[", 1)[0]!;
  const shown = shownName(name);
  if (base === name || !Object.hasOwn(params, base)) {
    const known = Object.keys(params).join(", ");
    return refusal(`${shown} is not a parameter of this call, which takes ${known === "" ? "none" : known}.`);
  }
  if (params[base]!.isList !== true)
    return refusal(`${shown} is not understood: ${base} takes one value, as ${base}=.`);
  const ways = `${base}=1,2 or ${base}[]=1&${base}[]=2 or ${base}[0]=1&${base}[1]=2`;
  return refusal(`${shown} is not understood: write ${ways}, with indexes from 0 to 999.`);
}

function refusal(message: string): RestError {
  return new RestError("func", message);
}
