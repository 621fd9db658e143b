import { describe, expect, test } from "bun:test";
import { createScript, type Rule } from "#services/local/sandbox/script.ts";

function setup(...rules: Rule[]) {
  const script = createScript();
  for (const rule of rules) script.add(rule);
  const kinds = (count: number, bot = 1, chat = 10, method = "sendmessage", isSend = true) =>
    Array.from({ length: count }, () => {
      const outcome = script.verdict(bot, chat, method, isSend)?.outcome;
      return outcome && "refusal" in outcome ? outcome.refusal.kind : outcome?.silence;
    });
  return { script, kinds };
}

describe("the script", () => {
  test("uses a rule up after its times", () => {
    const { script, kinds } = setup({ answer: { error: "blocked" }, times: 2 });
    expect(kinds(3)).toEqual(["blocked", "blocked", undefined]);
    expect(script.rules()).toEqual([]);
  });

  test("prefers the chat's rules to the bot's, and these to the general ones", () => {
    const { kinds } = setup(
      { answer: { error: "unauthorized" } },
      { bot: 1, answer: { error: "not_found" } },
      { bot: 1, chat: [10, 11], answer: { error: "deactivated" } },
    );
    expect(kinds(1)).toEqual(["deactivated"]);
    expect(kinds(1, 1, 11)).toEqual(["deactivated"]);
    expect(kinds(1, 2, 10)).toEqual(["unauthorized"]);
    expect(kinds(1, 1, 12)).toEqual(["not_found"]);
  });

  test("meets sends only, unless a method is named", () => {
    const { kinds } = setup({ answer: { error: "blocked" } }, { method: "getMe", answer: { hang: true } });
    expect(kinds(1, 1, 10, "getme", false)).toEqual(["hang"]);
    expect(kinds(1, 1, 10, "setwebhook", false)).toEqual([undefined]);
    expect(kinds(1)).toEqual(["blocked"]);
  });

  test("joins a latency with another answer", () => {
    const { script } = setup({ answer: { latencyMs: 7 } }, { answer: { cut: true, accepted: true } });
    expect(script.verdict(1, 1, "sendmessage", true)).toEqual({
      delayMs: 7,
      outcome: { silence: "cut", accepted: true },
    });
  });

  test("repeats chances and ranges of the same seed, near their probability", () => {
    const rule: Rule = { answer: { error: "blocked" }, probability: 0.25, seed: 42 };
    const first = setup(rule).kinds(4_000);
    expect(setup(rule).kinds(4_000)).toEqual(first);
    expect(setup({ ...rule, seed: 43 }).kinds(4_000)).not.toEqual(first);
    const hits = first.filter(Boolean).length;
    expect(hits).toBeGreaterThan(900);
    expect(hits).toBeLessThan(1_100);
    const { script } = setup({ answer: { latencyMs: [10, 20] }, seed: 5 });
    const delays = Array.from({ length: 100 }, () => script.verdict(1, 1, "sendmessage", true)!.delayMs);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(10);
    expect(Math.max(...delays)).toBeLessThan(20);
  });

  test("takes rules back, one or all", () => {
    const { script, kinds } = setup({ answer: { error: "blocked" } }, { chat: 10, answer: { error: "deactivated" } });
    expect(script.remove(2)).toBe(1);
    expect(kinds(1)).toEqual(["blocked"]);
    expect(script.rules()[0]?.hits).toBe(1);
    expect(script.remove()).toBe(1);
    expect(kinds(1)).toEqual([undefined]);
  });

  test.each([
    [{ answer: {} }],
    [{ answer: { error: "nothing_like_it" } }],
    [{ answer: { error: "blocked", hang: true } }],
    [{ answer: { error: "server_error", status: 418 } }],
    [{ answer: { latencyMs: [20, 10] } }],
    [{ answer: { hang: true }, times: 0 }],
    [{ answer: { hang: true }, probability: 2 }],
  ])("refuses %p", (rule) => {
    expect(() => createScript().add(rule as Rule)).toThrow();
  });
});
