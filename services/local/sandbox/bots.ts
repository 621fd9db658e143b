import { botFields, checkFields } from "./control-fields.ts";
import { createSlidingWindow, type SlidingWindow } from "./limits.ts";
import { invalid, type Settings } from "./settings.ts";

export interface Webhook {
  url: string;
  secretToken: string;
  /** Kinds of update that are wanted; empty for all. */
  allowedUpdates: string[];
  maxConnections: number;
  lastError?: { atSeconds: number; message: string };
}

/** What the sandbox knows of one bot, beside the record. */
export interface Bot {
  readonly id: number;
  username: string;
  /** May use `allow_paid_broadcast`. */
  paid: boolean;
  webhook: Webhook | undefined;
  readonly blockedBy: Set<number>;
  /** Taps that may still be answered. */
  readonly openQueries: Set<string>;
  lastUpdateId: number;
  /** A `retry_after` runs between these instants. */
  retryWindow: { fromMs: number; untilMs: number };
  /** Files made up to this stamp are gone. */
  filesExpiredUpTo: number;
  lastFileStamp: number;
  /** All sends, at the largest limit that the bot has; made when it is first needed. */
  window: SlidingWindow | undefined;
  /** A paid bot's sends without `allow_paid_broadcast`. */
  freeWindow: SlidingWindow | undefined;
}

/** What of the bots outlives the process when a state file is given. */
export interface SavedBots {
  bots: { id: number; username: string; paid: boolean; webhook?: Webhook; blockedBy: number[]; lastUpdateId: number }[];
  registered: string[];
  revoked: string[];
}

export interface Bots {
  /** The bot of a token, or undefined when the call must be answered 401. */
  fromToken(token: string): Bot | undefined;
  fromId(id: number): Bot;
  register(token: string, options: { username?: string; paid?: boolean }): Bot;
  revoke(token: string): void;
  /** Takes a place in the bot's second, for a call that arrived at `atMs`. */
  admit(bot: Bot, atMs: number): boolean;
  /** The same for a paid bot's call that turned out to be a free one. */
  admitFree(bot: Bot, atMs: number): boolean;
  resetWindows(): void;
  save(): SavedBots;
  load(saved: SavedBots): void;
}

const tokenShape = /^(\d{1,15}):[A-Za-z0-9_-]{20,}$/;

export function createBots(settings: () => Settings): Bots {
  const byId = new Map<number, Bot>();
  const byToken = new Map<string, Bot>();
  const registered = new Set<string>();
  const revoked = new Set<string>();

  function fromId(id: number): Bot {
    const found = byId.get(id);
    if (found) return found;
    const made = newBot(id);
    byId.set(id, made);
    return made;
  }

  function fromToken(token: string): Bot | undefined {
    if (revoked.has(token)) return undefined;
    if (settings().strictBots && !registered.has(token)) return undefined;
    const known = byToken.get(token);
    if (known) return known;
    const digits = tokenShape.exec(token)?.[1];
    if (!digits) return undefined;
    const bot = fromId(Number(digits));
    byToken.set(token, bot);
    return bot;
  }

  function register(token: string, options: { username?: string; paid?: boolean }): Bot {
    const digits = tokenShape.exec(token)?.[1];
    checkFields("options", options, botFields);
    if (!digits) throw invalid("A token is digits, a colon and 20 or more letters, digits, _ and -.", "token");
    registered.add(token);
    revoked.delete(token);
    const bot = fromId(Number(digits));
    bot.username = options.username ?? bot.username;
    if (options.paid !== undefined && options.paid !== bot.paid) {
      bot.paid = options.paid;
      bot.window = undefined;
    }
    return bot;
  }

  function load(saved: SavedBots): void {
    for (const token of saved.registered) registered.add(token);
    for (const token of saved.revoked) revoked.add(token);
    for (const { id, blockedBy, ...rest } of saved.bots) {
      const bot = Object.assign(fromId(id), rest);
      for (const chat of blockedBy) bot.blockedBy.add(chat);
    }
  }

  return {
    fromToken,
    fromId,
    register,
    revoke: (token) => {
      registered.delete(token);
      revoked.add(token);
    },
    admit: (bot, atMs) => {
      bot.window ??= createSlidingWindow(bot.paid ? settings().paidBotPerSecond : settings().botPerSecond);
      return bot.window.admit(atMs);
    },
    admitFree: (bot, atMs) => {
      bot.freeWindow ??= createSlidingWindow(settings().botPerSecond);
      return bot.freeWindow.admit(atMs);
    },
    resetWindows: () => {
      for (const bot of byId.values()) {
        bot.window = undefined;
        bot.freeWindow = undefined;
      }
    },
    save: () => ({ bots: [...byId.values()].map(savedBot), registered: [...registered], revoked: [...revoked] }),
    load,
  };
}

function newBot(id: number): Bot {
  return {
    id,
    username: `sandbox_${id}_bot`,
    paid: false,
    webhook: undefined,
    blockedBy: new Set(),
    openQueries: new Set(),
    lastUpdateId: 0,
    retryWindow: { fromMs: 0, untilMs: 0 },
    filesExpiredUpTo: 0,
    lastFileStamp: 0,
    window: undefined,
    freeWindow: undefined,
  };
}

function savedBot({ id, username, paid, webhook, blockedBy, lastUpdateId }: Bot): SavedBots["bots"][number] {
  return { id, username, paid, webhook, blockedBy: [...blockedBy], lastUpdateId };
}

/** Rises with every file of the bot, also over a restart. */
export function nextFileStamp(bot: Bot): number {
  bot.lastFileStamp = Math.max(Date.now(), bot.lastFileStamp + 1);
  return bot.lastFileStamp;
}

/** The user that the bot is, as getMe and `from` show it. */
export function botUser(bot: Bot): Record<string, unknown> {
  return { id: bot.id, is_bot: true, first_name: `Bot ${bot.id}`, username: bot.username };
}
