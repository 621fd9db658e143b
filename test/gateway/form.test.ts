import { describe, expect, test } from "bun:test";
import { accountId, envelopeOf, setup } from "./gateway-world.ts";

const path = "/api/broadcast/add.json";
const json = { "content-type": "application/json" };
const urlencoded = { "content-type": "application/x-www-form-urlencoded" };

const multipartType = { "content-type": "multipart/form-data; boundary=x" };

/** A good part, and one whose name nobody can read. */
function nameless(disposition: string): string {
  const part = (parameters: string) => `--x\r\ncontent-disposition: form-data; ${parameters}\r\n\r\na\r\n`;
  return `${part('name="name"')}${part(disposition)}--x--\r\n`;
}

function partOf(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const start = '--x\r\ncontent-disposition: form-data; name="name"\r\n\r\n';
  return new Uint8Array(Buffer.concat([Buffer.from(start), content, Buffer.from("\r\n--x--\r\n")]));
}

type Body = Parameters<ReturnType<typeof setup>["post"]>[1];

/** What name CreateBroadcast got, or the refusal. */
async function nameFrom(body: Body, headers: Record<string, string>) {
  const world = setup({ CreateBroadcast: { broadcastId: 5n } });
  const reply = await envelopeOf(world.post(path, body, headers));
  const request = world.calls[0]?.request as { name: string } | undefined;
  return request?.name ?? `${reply.error}: ${reply.message}`;
}

function multipart(...parts: [string, string | Blob][]): FormData {
  const form = new FormData();
  for (const [name, value] of parts) form.append(name, value);
  return form;
}

describe("a POST's parameters", () => {
  const name = "20% & more = 👇 +1";
  test.each<[string, Body, Record<string, string>]>([
    ["a form", { name }, {}],
    [
      "a form with a charset",
      new URLSearchParams({ name }).toString(),
      { "content-type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8" },
    ],
    ["JSON", JSON.stringify({ name }), json],
    ["multipart", multipart(["name", name]), {}],
  ])("come as %s under the same name", async (_type, body, headers) => {
    expect(await nameFrom(body, headers)).toBe(name);
  });

  test("are taken from a form when the body has no content type", async () => {
    const request = new Request(`http://localhost${path}`, {
      method: "POST",
      headers: { authorization: "Bearer x" },
      body: new TextEncoder().encode("name=a+b%20c"),
    });
    const world = setup();
    await world.handle(request);
    expect(world.calls[0]?.request).toEqual({ accountId, name: "a b c" });
  });

  test("do not come from its query", async () => {
    const world = setup();
    const reply = await envelopeOf(world.post("/api/broadcast/start.json?id=5"));
    expect(reply).toMatchObject({ message: "id stands in the query: a POST takes id from its body." });
    expect(world.calls).toEqual([]);
  });

  test("may be none at all", async () => {
    for (const headers of [json, urlencoded]) expect(await nameFrom("", headers)).toBe("");
  });

  test("leave every object's prototype as it was", async () => {
    await nameFrom('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}', json);
    await nameFrom("__proto__=polluted&__proto__[polluted]=1", urlencoded);
    expect("polluted" in {}).toBe(false);
  });

  test.each<[string, Body, Record<string, string>]>([
    ["that comes twice in a form", "name=a&name=b", urlencoded],
    ["that comes twice in multipart", multipart(["name", "a"], ["name", "b"]), {}],
    ["with a NUL", "name=a%00b", urlencoded],
    ["with a NUL in JSON", '{"name":"a\\u0000b"}', json],
    ["with half a surrogate pair", '{"name":"\\ud83d"}', json],
    ["that is not UTF-8", "name=%ed%a0%80", urlencoded],
    ["that is an object", '{"name":{}}', json],
    ["that is null", '{"name":null}', json],
    ["that is true", '{"name":true}', json],
    ["that is an array", '{"name":["a"]}', json],
    ["that is a file", multipart(["name", new File(["a"], "a.txt")]), {}],
    ["that comes twice in JSON", '{"name":"a","x":{"name":1},"name":"b"}', json],
    ["that comes twice in JSON, spelt in two ways", '{"name":"a","n\\u0061me":"b"}', json],
    ["that is a list", '{"name":["a","b"]}', json],
  ])("are refused by name: one %s", async (_case, body, headers) => {
    expect(await nameFrom(body, headers)).toStartWith("func: name ");
  });

  test.each<[string, Body, Record<string, string>]>([
    ["JSON that breaks off", '{"name":"a', json],
    ["JSON that is no object", '["name"]', json],
    ["JSON null", "null", json],
    ["JSON nested without end", "[".repeat(500_000), json],
    ["JSON that is not UTF-8", new Uint8Array([0x7b, 0xff, 0x7d]), json],
    ["a form that is not UTF-8", new Uint8Array([0x61, 0x3d, 0xff]), urlencoded],
    ["multipart without a boundary", "--x\r\n", { "content-type": "multipart/form-data" }],
    [
      "multipart that breaks off",
      '--x\r\ncontent-disposition: form-data; name="name"\r\n\r\na',
      { "content-type": "multipart/form-data; boundary=x" },
    ],
    ["multipart with a part without a name", nameless("name*=UTF-8''campaigns"), multipartType],
    ["multipart with a part that is no form data", nameless('x="name"'), multipartType],
    ["multipart with text that is not UTF-8", partOf(new Uint8Array([0x61, 0xff])), multipartType],
    ["compressed", "name=a", { ...urlencoded, "content-encoding": "gzip" }],
    ["another content type", "name=a", { "content-type": "text/plain" }],
    ["more than 256 KiB", `name=${"a".repeat(256 * 1024)}`, urlencoded],
  ])("are refused with func when the body is %s", async (_case, body, headers) => {
    expect(await nameFrom(body, headers)).toStartWith("func: ");
  });

  test("may have a text of 32,768 characters", async () => {
    const world = setup();
    const edit = (text: string) => world.post("/api/broadcast/edit.json", `id=5&text=${text}`, urlencoded);
    await edit("a".repeat(32_768));
    expect(world.calls[0]?.request).toMatchObject({ body: { text: "a".repeat(32_768) } });
    for (const length of [32_769, 256 * 1024 - "id=5&text=".length]) {
      const reply = await envelopeOf(edit("a".repeat(length)));
      expect(reply).toMatchObject({ error: "func", message: "text must have at most 32768 characters." });
    }
    expect(world.calls).toHaveLength(1);
  });

  test("keep a lone percent sign as it is", async () => {
    expect(await nameFrom("name=100%+sure%2", urlencoded)).toBe("100% sure%2");
  });
});

describe("a GET's parameters", () => {
  test("come from the query", async () => {
    const world = setup({ ListBlocks: { blocks: [] } });
    await world.get("/api/camp/broadcast.json?x=1&id=12");
    expect(world.calls[0]?.request).toEqual({ accountId, campaignId: 12n });
  });

  test("are refused when one comes twice", async () => {
    const reply = await envelopeOf(setup().get("/api/camp/broadcast.json?id=12&id=13"));
    expect(reply).toMatchObject({ error: "func", message: "id is given more than once." });
  });
});
