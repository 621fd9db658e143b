import type { SandboxControl } from "./control.ts";
import { changedSettings, type Settings } from "./settings.ts";
import type { Updates } from "./webhook.ts";
import type { World } from "./world.ts";

/** The controls in process. They are asynchronous only so that they are the same as over HTTP. */
export function createControl(world: World, updates: Updates, listen: (on: boolean) => Promise<void>): SandboxControl {
  const { bots, record, script } = world;
  return {
    settings: async () => ({ ...world.settings }),
    configure: async (change) => configured(world, change),
    putBot: async (token, options) => changing(world, { bot: bots.register(token, options ?? {}).id }),
    revokeToken: async (token) => changing(world, bots.revoke(token)),
    expireFiles: async (bot) => {
      bots.fromId(bot).filesExpiredUpTo = Math.max(Date.now(), bots.fromId(bot).lastFileStamp);
    },
    script: async (rule) => script.add(rule),
    unscript: async (id) => script.remove(id),
    rules: async () => script.rules(),
    listen,
    block: (bot, chat) => updates.setBlocked(bots.fromId(bot), chat, true),
    unblock: (bot, chat) => updates.setBlocked(bots.fromId(bot), chat, false),
    tap: (bot, chat, data, messageId) => updates.tap(bots.fromId(bot), chat, data, messageId),
    deliver: (bot, update) => updates.deliver(bots.fromId(bot), update),
    totals: async () => record.totals(),
    bot: async (bot) => record.report(bot),
    bots: async () => record.reports(),
    messages: async (query) => record.messages(query ?? {}),
    chatsOver: async (count, bot) => record.chatsOver(count, bot),
    duplicates: async (bot) => record.duplicates(bot),
    refusals: async (bot) => record.refusals(bot),
    callbackAnswers: async (bot) => record.callbackAnswers(bot),
    exportLines: async () => record.lines(),
    clear: async () => record.clear(),
  };
}

function configured(world: World, change: Partial<Settings>): Settings {
  const before = world.settings;
  world.settings = changedSettings(before, change);
  const { botPerSecond, paidBotPerSecond, keepBodies } = world.settings;
  if (botPerSecond !== before.botPerSecond || paidBotPerSecond !== before.paidBotPerSecond) world.bots.resetWindows();
  if (keepBodies !== before.keepBodies) world.record.keepBodies(keepBodies);
  return { ...world.settings };
}

function changing<Result>(world: World, result: Result): Result {
  world.changed();
  return result;
}
