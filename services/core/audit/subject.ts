/** What a request is about, read from the request itself, so that a call which is added later has an entry without a line of its own. */

/** What a call was done to. A kind and an id, and never a chat, a name or a text: entries outlive the people in them. */
export interface AuditObject {
  kind: ObjectKind;
  id: string;
}

export type ObjectKind =
  | (typeof NAMED_KINDS)[number]
  | "account"
  | "tariff"
  | "session"
  | "block"
  | "stream"
  | "secrets";

/** Kinds that requests name as `<kind>_id`: the narrowest first. Chats are not among them. */
const NAMED_KINDS = ["lead", "broadcast", "campaign", "bot", "media"] as const;

/** Kinds that requests hold whole, to be put. */
const PUT_KINDS = ["tariff", "account", "bot", "campaign"] as const;

export interface Subject {
  accountId: number | undefined;
  object: AuditObject | undefined;
}

export function subjectOf(message: object): Subject {
  const whole = putObject(message);
  if (whole !== undefined) return whole;
  const accountId = idAt(message, "accountId");
  const kind = NAMED_KINDS.find((one) => idAt(message, `${one}Id`) !== undefined);
  if (kind !== undefined) return { accountId, object: { kind, id: String(idAt(message, `${kind}Id`)) } };
  const object: AuditObject | undefined =
    accountId === undefined ? undefined : { kind: "account", id: String(accountId) };
  return { accountId, object };
}

function putObject(message: object): Subject | undefined {
  for (const kind of PUT_KINDS) {
    const value = valueAt(message, kind);
    if (typeof value !== "object" || value === null) continue;
    const id = idAt(value, "id") ?? 0;
    const owner = kind === "account" && id > 0 ? id : idAt(value, "accountId");
    return { accountId: owner, object: { kind, id: String(id) } };
  }
  return undefined;
}

/** Ids that are no ids are left out: a refused request may hold any number. */
function idAt(holder: object, name: string): number | undefined {
  const value = valueAt(holder, name);
  if (typeof value !== "bigint") return undefined;
  return value > 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
}

function valueAt(holder: object, name: string): unknown {
  return Object.hasOwn(holder, name) ? (holder as Record<string, unknown>)[name] : undefined;
}
