/** What sealed values are sealed for: one that is copied to another row does not open. */

export function botTokenContext(botId: number): string {
  return `bot:${botId}`;
}

export function webhookSecretContext(botId: number): string {
  return `webhook:${botId}`;
}

/** Secrets that a service makes for itself, by their name. */
export function ownSecretContext(name: string): string {
  return `secret:${name}`;
}
