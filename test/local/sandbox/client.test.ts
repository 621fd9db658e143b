import { describe, expect, test } from "bun:test";
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { failureOf, rawSend, startSandbox, tokenOf } from "./support.ts";

async function setup() {
  const world = await startSandbox();
  return { ...world, remote: createSandboxClient(`${world.sandbox.url}/`) };
}

describe("the client", () => {
  test("controls a sandbox as one in process is controlled", async () => {
    await using world = await setup();
    const { remote } = world;
    expect(await remote.configure({ chatBurst: 9 })).toMatchObject({ chatBurst: 9, botPerSecond: 0 });
    expect(await remote.settings()).toEqual(await world.control.settings());
    const id = await remote.script({ chat: 1, answer: { error: "blocked" }, times: 5 });
    expect(await failureOf(world.api().sendMessage(1, "hi"))).toMatchObject({ error_code: 403 });
    expect(await remote.rules()).toMatchObject([{ id, hits: 1 }]);
    expect(await remote.unscript()).toBe(1);
    for (const text of ["a", "a", "b"]) await world.api().sendMessage(1, text);
    expect(await remote.totals()).toEqual(await world.control.totals());
    expect(await remote.bots()).toEqual(await world.control.bots());
    expect(await remote.bot(1)).toEqual(await world.control.bot(1));
    expect(await remote.messages({ chat: 1, limit: 2 })).toEqual(await world.control.messages({ limit: 2 }));
    expect(await remote.duplicates()).toMatchObject([{ chat: 1, count: 2, text: "a" }]);
    expect(await remote.chatsOver(2)).toEqual([{ bot: 1, chat: 1, count: 3 }]);
    expect(await remote.refusals(1)).toMatchObject([{ kind: "blocked" }]);
    const lines = (await new Response(await remote.exportLines()).text()).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).text)).toEqual(["a", "a", "b"]);
    await remote.clear();
    expect((await remote.totals()).accepted).toBe(0);
  });

  test("knows bots, people and webhooks", async () => {
    await using world = await setup();
    const { remote } = world;
    expect(await remote.putBot(tokenOf(4), { username: "four_bot" })).toEqual({ bot: 4 });
    expect((await world.api(4).getMe()).username).toBe("four_bot");
    expect(await remote.block(4, 1)).toMatchObject({ delivered: false });
    expect(await failureOf(world.api(4).sendMessage(1, "hi"))).toMatchObject({ error_code: 403 });
    await remote.unblock(4, 1);
    await world.api(4).sendMessage(1, "hi");
    expect(await remote.tap(4, 1, "x")).toMatchObject({ delivered: false });
    expect(await remote.deliver(4, { message: {} })).toMatchObject({ delivered: false });
    expect(await remote.callbackAnswers()).toEqual([]);
    await remote.expireFiles(4);
    await remote.revokeToken(tokenOf(4));
    expect(await failureOf(world.api(4).getMe())).toMatchObject({ error_code: 401 });
  });

  test("stops the Bot API's listening and starts it again", async () => {
    await using world = await setup();
    await world.remote.listen(false);
    expect((await rawSend(world.sandbox, 1)).end).toBe("ECONNREFUSED");
    expect((await world.remote.totals()).accepted).toBe(0);
    await world.remote.listen(true);
    await world.api().sendMessage(1, "hi");
  });

  test("passes refusals on, and says when nothing answers", async () => {
    await using world = await setup();
    const refused = { reason: ErrorReason.INVALID_ARGUMENT };
    await expect(world.remote.configure({ nothing: 1 } as never)).rejects.toMatchObject(refused);
    await expect(world.remote.configure({ botPerSecond: -1 })).rejects.toMatchObject(refused);
    await expect(world.remote.putBot("short")).rejects.toMatchObject(refused);
    await expect(world.remote.bot("x" as never)).rejects.toMatchObject(refused);
    await expect(world.remote.script({} as never)).rejects.toMatchObject(refused);
    await world.sandbox.stop();
    await expect(world.remote.totals()).rejects.toMatchObject({ reason: ErrorReason.UNAVAILABLE });
  });
});

describe("the controls over HTTP", () => {
  test("read parameters from the query, too", async () => {
    await using world = await setup();
    await world.api().sendMessage(1, "hi");
    const get = async (path: string) => (await fetch(`${world.sandbox.url}/_sandbox/${path}`)).json();
    expect(await get("chatsOver?count=0")).toEqual([{ bot: 1, chat: 1, count: 1 }]);
    expect(await get(`messages?query=${encodeURIComponent('{"chat":2}')}`)).toEqual([]);
    expect(await get("chatsOver")).toEqual({ error: "count is missing." });
  });

  /** Names that a call does not take, and values that would be read as something else. */
  const strange: [string, unknown][] = [
    ["messages", { chat: 5 }],
    ["messages", { query: { chats: 5 } }],
    ["messages", { query: { chat: "5" } }],
    ["messages", { query: { bot: 1.5 } }],
    ["messages", { query: { newest: "true" } }],
    ["messages", { query: [{ chat: 5 }] }],
    ["messages", { query: null }],
    ["messages", [{ chat: 5 }]],
    ["duplicates", { bots: 1 }],
    ["duplicates", { bot: null }],
    ["refusals", { chat: 5 }],
    ["callbackAnswers", { query: { bot: 1 } }],
    ["chatsOver", { count: 1, chat: 5 }],
    ["totals", { bot: 1 }],
    ["bots", { bot: 1 }],
    ["bot", { bot: 1, chat: 5 }],
    ["settings", { botPerSecond: 1 }],
    ["configure", { botPerSecond: 1 }],
    ["configure", { change: { botsPerSecond: 1 } }],
    ["configure", { change: [] }],
    ["unscript", { id: null }],
    ["unscript", { ids: [1] }],
    ["rules", { bot: 1 }],
    ["clear", { bot: 1 }],
    ["putBot", { token: tokenOf(4), username: "four_bot" }],
    ["putBot", { token: tokenOf(4), options: { name: "four_bot" } }],
    ["putBot", { token: tokenOf(4), options: { paid: "yes" } }],
    ["putBot", { token: 4 }],
    ["revokeToken", { token: tokenOf(4), bot: 4 }],
    ["expireFiles", { bot: 4, ref: "x" }],
    ["block", { bot: 4, chat: 5, chats: [6] }],
    ["tap", { bot: 4, chat: 5, data: "x", message: 7 }],
    ["tap", { bot: 4, chat: 5, data: { a: 1 } }],
    ["deliver", { bot: 4, update: [] }],
    ["listen", { on: 1 }],
    ["listen", { on: "no" }],
    ["script", { answer: { error: "blocked" } }],
    ...[
      { answer: { error: "blocked" }, chats: [5] },
      { answer: { error: "blocked" }, chat: "5" },
      { answer: { error: "blocked" }, chat: [] },
      { answer: { error: "blocked" }, bot: "1" },
      { answer: { error: "blocked" }, method: "sendMesage" },
      { answer: { error: "blocked" }, seed: "x" },
      { answer: { error: "blocked" }, time: 1 },
      { answer: { error: "blocked", retryAfter: 3 } },
      { answer: { error: "retry_after", retryAfterSeconds: -1 } },
      { answer: { hang: true, latency: 5 } },
      { answer: { hang: false } },
      { answer: { cut: true, accepted: "no" } },
      { answer: { words: 5 } },
      { answer: { http: 502, headers: {} } },
      { answer: { latencyMs: 5, accepted: true } },
    ].map((rule): [string, unknown] => ["script", { rule }]),
  ];
  test("refuse every name that they do not take, and every value that would mean something else", async () => {
    await using world = await setup();
    const before = [await world.control.settings(), await world.control.rules()];
    for (const [name, given] of strange) {
      const reply = await fetch(`${world.sandbox.controlUrl}/_sandbox/${name}`, {
        method: "POST",
        body: JSON.stringify(given),
      });
      const { error } = (await reply.json()) as { error: string };
      expect({ name, given, status: reply.status, said: error.length > 10 }).toMatchObject({ status: 400, said: true });
    }
    expect([await world.control.settings(), await world.control.rules()]).toEqual(before);
    await world.api().sendMessage(1, "the Bot API listens still");
  });

  test("refuse the same in a query, and say where a filter stands", async () => {
    await using world = await setup();
    const get = (path: string, init?: RequestInit) => fetch(`${world.sandbox.controlUrl}/_sandbox/${path}`, init);
    for (const path of ["messages?chat=5", "export.jsonl?chat=5", "address?x=1", "bot?bot=1&bot=2", "bot?bot="]) {
      expect([path, (await get(path)).status]).toEqual([path, 400]);
    }
    expect(await (await get("messages?chat=5")).json()).toEqual({
      error: 'messages does not know chat: it takes query. A filter stands in query, like {"query":{"chat":5}}.',
    });
    expect((await get("messages?query=%7B%7D", { method: "POST", body: "{}" })).status).toBe(400);
    expect((await get("totals", { method: "DELETE" })).status).toBe(405);
  });

  test("answer 404 and 409 where there is nothing to do", async () => {
    await using world = await setup();
    expect((await fetch(`${world.sandbox.url}/_sandbox/nothing`)).status).toBe(404);
    expect((await fetch(`${world.sandbox.url}/_sandbox/listen?on=false`)).status).toBe(409);
    expect((await fetch(`${world.sandbox.url}/elsewhere`)).status).toBe(404);
  });

  test("show a page of counts and messages, with nothing in it that was sent as markup", async () => {
    await using world = await setup();
    expect(await (await fetch(world.sandbox.url)).text()).toContain("No bot has called yet");
    await world.api(77).sendMessage(5, "<b>bold</b> offer", {
      reply_markup: { inline_keyboard: [[{ text: "Open", url: "https://example.com" }]] },
    });
    const html = await (await fetch(world.sandbox.url)).text();
    expect(html).toContain("1 messages to 1 chats");
    expect(html).toContain("&lt;b&gt;bold&lt;/b&gt; offer");
    expect(html).toContain("[Open]");
    expect(html).not.toContain(tokenOf(77));
  });
});
