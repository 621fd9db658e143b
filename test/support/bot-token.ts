/** A bot is its number, so each bot of a test's needs one of its own. */
let made = 0;

/** A token with a number that no other call in this process gives out. */
export function freshBotToken(): string {
  return `${5_000_000 + ++made}:a-token-that-the-tests-made`;
}

/** Another token of the same bot, as BotFather gives out after a revocation. */
export function otherTokenOf(token: string): string {
  return `${token}-${++made}`;
}
