/** What the Bot API answers in a run: mostly yes, and to some chats everything else that it can say or leave unsaid. */
import type { SandboxControl } from "#services/local/sandbox/control.ts";
import type { Answer } from "#services/local/sandbox/script.ts";
import type { Random } from "./random.ts";

interface Share {
  /** Of all chats. */
  share: number;
  answer: Answer;
  /** How many calls get it; for good where it is left out. */
  times?: number;
}

/** Each of the fault classes; those whose answer is lost with and without the message having been accepted. */
const SHARES: Share[] = [
  { share: 0.01, answer: { error: "blocked" } },
  { share: 0.005, answer: { error: "deactivated" } },
  { share: 0.005, answer: { error: "chat_not_found" } },
  { share: 0.005, answer: { error: "cant_send" } },
  { share: 0.003, answer: { error: "bad_button" } },
  { share: 0.003, answer: { error: "retry_after", retryAfterSeconds: 1 }, times: 1 },
  { share: 0.003, answer: { error: "server_error", status: 502 }, times: 1 },
  { share: 0.003, answer: { error: "server_error", status: 504, accepted: true }, times: 1 },
  { share: 0.003, answer: { cut: true }, times: 1 },
  { share: 0.003, answer: { cut: true, accepted: true }, times: 1 },
  { share: 0.0005, answer: { hang: true }, times: 1 },
  { share: 0.0005, answer: { hang: true, accepted: true }, times: 1 },
];

/** Chats that get an answer of their own, and the time that every answer takes. */
export async function scriptAnswers(
  sandbox: SandboxControl,
  random: Random,
  chats: readonly number[],
  latencyMs: readonly [number, number],
): Promise<void> {
  await sandbox.configure({ botPerSecond: 0, chatPerSecond: 0 });
  await sandbox.script({ method: "*", answer: { latencyMs } });
  for (const { share, answer, times } of SHARES) {
    const chosen = chats.filter(() => random.chance(share));
    if (times === undefined && chosen.length > 0) await sandbox.script({ chat: chosen, answer });
    else for (const chat of chosen) await sandbox.script({ chat, answer, times });
  }
}
