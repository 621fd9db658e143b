import type { BotReport, Totals } from "./control.ts";
import type { RecordedMessage } from "./messages.ts";
import type { SandboxRecord } from "./record.ts";

const shownMessages = 20;
const shownBots = 200;

/** What somebody who opens the sandbox in a browser sees: counts, and the newest messages. No token is on it. */
export function page(record: SandboxRecord): string {
  const bots = record.reports().sort((a, b) => b.accepted - a.accepted);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Bot API sandbox</title><link rel="icon" href="data:,">
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.said{white-space:pre-wrap;overflow-wrap:anywhere}
</style>
<h1>Bot API sandbox</h1>
<p>${summary(record.totals())} Nothing here reaches Telegram. Reload to refresh.</p>
<h2>Bots</h2>${botTable(bots.slice(0, shownBots))}
<h2>Last messages</h2>${messageTable(record.messages({ newest: true, limit: shownMessages }))}
</html>`;
}

function summary(totals: Totals): string {
  const { accepted, distinctChats, refused, mostPerChat } = totals;
  return `${accepted} messages to ${distinctChats} chats, at most ${mostPerChat} to one; ${refused} calls refused.`;
}

function botTable(bots: readonly BotReport[]): string {
  if (bots.length === 0) return "<p>No bot has called yet.</p>";
  const titles = ["Bot", "Messages", "Chats", "Most to one chat", "Busiest second", "Inside retry_after"];
  const rows = bots.map((bot) => {
    const busiest = bot.busiestSecond.arrived;
    const counts = [bot.bot, bot.accepted, bot.distinctChats, bot.mostPerChat, busiest, bot.insideRetryAfter];
    const refused = Object.entries(bot.refused).map(([kind, count]) => `${kind} ${count}`);
    return `<tr>${counts.map((count) => `<td class="n">${count}</td>`).join("")}<td>${escaped(refused.join(", "))}</td></tr>`;
  });
  const head = titles.map((title) => `<th class="n">${title}</th>`).join("");
  return `<table><tr>${head}<th>Refused</th></tr>${rows.join("")}</table>`;
}

function messageTable(messages: readonly RecordedMessage[]): string {
  if (messages.length === 0) return "<p>No message yet.</p>";
  const rows = messages.map((message) => {
    const time = new Date(message.wall_ms).toISOString().slice(11, 23);
    const kind = message.method.slice("send".length).toLowerCase();
    const place = `<td>${time}</td><td class="n">${message.bot}</td><td class="n">${message.chat}</td><td>${kind}</td>`;
    return `<tr>${place}<td class="said">${escaped(message.text ?? "")}${buttons(message.reply_markup)}</td></tr>`;
  });
  const head = '<th>Time (UTC)</th><th class="n">Bot</th><th class="n">Chat</th><th>Kind</th><th>Message</th>';
  return `<table><tr>${head}</tr>${rows.join("")}</table>`;
}

function buttons(markup: unknown): string {
  const rows = (markup as { inline_keyboard?: { text?: unknown }[][] } | undefined)?.inline_keyboard ?? [];
  const texts = rows.flat().map((button) => `[${escaped(String(button.text ?? ""))}]`);
  return texts.length > 0 ? `<br><small>${texts.join(" ")}</small>` : "";
}

function escaped(text: string): string {
  return Bun.escapeHTML(text);
}
