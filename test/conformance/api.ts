/**
 * One way to speak of a call, whichever way it goes. Parameters and replies have the reference's names and shapes; the RPC
 * side translates with code of its own, so that a mistake in the gateway's translation shows as a difference.
 */
import type { RestCode } from "../../gateway/rest-error.ts";

export type CallName =
  | "GET camp/list"
  | "GET camp/broadcast"
  | "POST camp/broadcast"
  | "POST camp/btest"
  | "GET broadcast/list"
  | "GET broadcast/quota"
  | "GET broadcast/get"
  | "GET broadcast/progress"
  | "POST broadcast/add"
  | "POST broadcast/edit"
  | "POST broadcast/start"
  | "POST broadcast/pause"
  | "POST broadcast/resume"
  | "POST broadcast/cancel"
  | "POST broadcast/reset"
  | "POST broadcast/del"
  | "POST broadcast/test"
  | "POST media/upload";

export type Fields = Readonly<Record<string, string | number | Uint8Array<ArrayBuffer>>>;

export type Outcome = { data: unknown } | { code: RestCode; message: string };

export type Call = (name: CallName, fields: Fields) => Promise<Outcome>;

export type Data = Record<string, unknown>;

/** What rows are written against. It keeps a transcript, in which nothing tells one account from another. */
export class Api {
  readonly transcript: unknown[] = [];

  constructor(
    readonly kind: "REST" | "RPC",
    readonly call: Call,
  ) {}

  async try(name: CallName, fields: Fields = {}): Promise<Outcome> {
    const outcome = await this.call(name, fields);
    this.transcript.push([name, "code" in outcome ? outcome.code : anonymous(outcome.data)]);
    return outcome;
  }

  /** The call's data. Throws if it is refused. */
  async ok(name: CallName, fields: Fields = {}): Promise<Data> {
    const outcome = await this.try(name, fields);
    if ("code" in outcome) throw new Error(`${name} was refused: ${outcome.code}, ${outcome.message}`);
    return (outcome.data ?? {}) as Data;
  }

  async list(
    name: "GET camp/list" | "GET camp/broadcast" | "GET broadcast/list",
    fields: Fields = {},
  ): Promise<Data[]> {
    return (await this.ok(name, fields)) as unknown as Data[];
  }

  /** The code that the call is refused with, or "ok". */
  async code(name: CallName, fields: Fields = {}): Promise<RestCode | "ok"> {
    const outcome = await this.try(name, fields);
    return "code" in outcome ? outcome.code : "ok";
  }

  async refusal(name: CallName, fields: Fields = {}): Promise<{ code: RestCode; message: string }> {
    const outcome = await this.try(name, fields);
    if ("code" in outcome) return outcome;
    throw new Error(`${name} was expected to be refused, and was not.`);
  }

  /** A draft with a text for everybody. @returns its id. */
  async draft(fields: Fields = {}): Promise<number> {
    const { id } = await this.ok("POST broadcast/add", { name: "Draft" });
    await this.ok("POST broadcast/edit", { id: Number(id), name: "Draft", statuses: 31, text: "Hello", ...fields });
    return Number(id);
  }

  /** A broadcast that has been started. @returns its id. */
  async running(fields: Fields = {}): Promise<number> {
    const id = await this.draft(fields);
    await this.ok("POST broadcast/start", { id });
    return id;
  }

  async get(id: number): Promise<Data> {
    return await this.ok("GET broadcast/get", { id });
  }
}

const moments = new Set(["started", "created", "until", "eta", "rate"]);
const names = new Set(["id", "bot", "media"]);

function anonymous(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return value.map((item) => (key === "campaigns" ? "id" : anonymous(item)));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, anonymous(member, name)]));
  }
  if (moments.has(key)) return value === 0 ? 0 : "some";
  return names.has(key) && value !== "" ? key : value;
}
