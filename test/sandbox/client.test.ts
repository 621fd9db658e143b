import { describe, expect, test } from "bun:test";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { createSandboxClient } from "#services/sandbox/client.ts";
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
