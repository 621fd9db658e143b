import { enlarged } from "./chats.ts";

/** What a message said, as the sender gave it. JSON stays text: it is only read when somebody asks. */
export interface Body {
  text: string;
  entities: string | undefined;
  parseMode: string | undefined;
  replyMarkup: string | undefined;
  fileId: string | undefined;
}

export interface NewMessage {
  bot: number;
  chat: number;
  method: string;
  messageId: number;
  /** Monotonic arrival, in ms since the sandbox was made. */
  arrivedMs: number;
  /** Wall time of arrival, in ms since the epoch. */
  wallMs: number;
  /** The call carried the file itself, not its id. */
  uploaded: boolean;
  body: Body;
}

export interface RecordedMessage {
  bot: number;
  chat: number;
  method: string;
  message_id: number;
  arrived_ms: number;
  wall_ms: number;
  uploaded: boolean;
  /** Text or caption. Missing, as is all below, once the message is older than `keepBodies` allows. */
  text?: string;
  entities?: unknown;
  parse_mode?: string;
  reply_markup?: unknown;
  file_id?: string;
}

export interface Messages {
  add(message: NewMessage): void;
  size(): number;
  at(index: number): RecordedMessage;
  bot(index: number): number;
  chat(index: number): number;
  messageId(index: number): number;
  /** Equal for messages that say the same: text, entities and keyboard, whatever their file. */
  fingerprint(index: number): bigint;
  keepBodies(count: number): void;
  clear(): void;
}

const sendMethods = ["sendMessage", "sendPhoto", "sendVideo"];
const uploadedFlag = 0x80;

/** Accepted messages as columns, 45 bytes each; bodies of the newest ones in a ring. */
export function createMessages(keep: number): Messages {
  let columns = createColumns(1_024);
  let bodies: Body[] = [];
  let keepCount = keep;
  let size = 0;

  function add(message: NewMessage): void {
    if (size === columns.bot.length) columns = enlargedColumns(columns, size * 2);
    columns.bot[size] = message.bot;
    columns.chat[size] = message.chat;
    columns.arrivedMs[size] = message.arrivedMs;
    columns.wallMs[size] = message.wallMs;
    columns.messageId[size] = message.messageId;
    columns.method[size] = sendMethods.indexOf(message.method) | (message.uploaded ? uploadedFlag : 0);
    columns.fingerprint[size] = fingerprintOf(message.body);
    if (keepCount > 0) bodies[size % keepCount] = message.body;
    size++;
  }

  function at(index: number): RecordedMessage {
    const method = columns.method[index]!;
    const found: RecordedMessage = {
      bot: columns.bot[index]!,
      chat: columns.chat[index]!,
      method: sendMethods[method & ~uploadedFlag]!,
      message_id: columns.messageId[index]!,
      arrived_ms: columns.arrivedMs[index]!,
      wall_ms: columns.wallMs[index]!,
      uploaded: (method & uploadedFlag) !== 0,
    };
    const body = index < size - keepCount ? undefined : bodies[index % keepCount];
    return body ? { ...found, ...shownBody(body) } : found;
  }

  /** Moves what stays to its place in a ring of the new length. */
  function keepBodies(count: number): void {
    const kept: Body[] = [];
    const from = Math.max(0, size - Math.min(keepCount, count));
    for (let index = from; index < size; index++) kept[index % count] = bodies[index % keepCount]!;
    bodies = kept;
    keepCount = count;
  }

  return {
    add,
    size: () => size,
    at,
    bot: (index) => columns.bot[index]!,
    chat: (index) => columns.chat[index]!,
    messageId: (index) => columns.messageId[index]!,
    fingerprint: (index) => columns.fingerprint[index]!,
    keepBodies,
    clear: () => {
      columns = createColumns(1_024);
      bodies = [];
      size = 0;
    },
  };
}

function shownBody(body: Body): Partial<RecordedMessage> {
  return {
    text: body.text,
    entities: body.entities === undefined ? undefined : JSON.parse(body.entities),
    parse_mode: body.parseMode,
    reply_markup: body.replyMarkup === undefined ? undefined : JSON.parse(body.replyMarkup),
    file_id: body.fileId,
  };
}

function fingerprintOf(body: Body): bigint {
  return BigInt(Bun.hash(`${body.text}\0${body.entities ?? ""}\0${body.replyMarkup ?? ""}`));
}

type Columns = ReturnType<typeof createColumns>;

function createColumns(size: number) {
  return {
    bot: new Float64Array(size),
    chat: new Float64Array(size),
    arrivedMs: new Float64Array(size),
    wallMs: new Float64Array(size),
    fingerprint: new BigUint64Array(size),
    messageId: new Uint32Array(size),
    method: new Uint8Array(size),
  };
}

function enlargedColumns(old: Columns, size: number): Columns {
  const bigger = createColumns(size);
  enlarged(old.bot, bigger.bot);
  enlarged(old.chat, bigger.chat);
  enlarged(old.arrivedMs, bigger.arrivedMs);
  enlarged(old.wallMs, bigger.wallMs);
  enlarged(old.fingerprint, bigger.fingerprint);
  enlarged(old.messageId, bigger.messageId);
  enlarged(old.method, bigger.method);
  return bigger;
}
