/** What only REST can say: envelopes, forms of parameters, order of fields. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { endpoints } from "../../gateway/app.ts";
import type { CallName, Fields } from "./api.ts";
import { type Customer, createCustomer } from "./customer.ts";
import { createRestApi, type Envelope, envelopeOf, requestOf } from "./rest-api.ts";
import { callsOn } from "./rows/errors.ts";
import { createStack, type Stack } from "./stack.ts";

type Body = string | FormData | URLSearchParams;

let stack: Stack;
let customer: Customer;
beforeAll(async () => {
  stack = await createStack({ relays: 0, deliveries: 0 });
  customer = await createCustomer(stack);
});
afterAll(() => stack.stop());

const send = async (request: Request): Promise<Envelope> => envelopeOf(await stack.gateway.handle(request));
const call = (name: CallName, fields: Fields = {}) => send(requestOf(name, fields, customer.session));
const post = (path: string, body: Body, contentType?: string) =>
  send(
    new Request(`http://localhost/api/${path}.json`, {
      method: "POST",
      body,
      headers: { authorization: `Bearer ${customer.session}`, ...(contentType && { "content-type": contentType }) },
    }),
  );

describe("contract 3, the session", () => {
  test("every call without one, or with one that is unknown, revoked or expired, is refused with key", async () => {
    const { token: revoked } = await stack.platform.account.createSession({ accountId: customer.accountId });
    await stack.platform.account.revokeSession({ token: revoked });
    const { token: expired } = await stack.platform.account.createSession({ accountId: customer.accountId });
    const hash = new Bun.CryptoHasher("sha256").update(expired).digest();
    const changed = await stack.sql`UPDATE session SET expires_at = now() - interval '1 s' WHERE token_hash = ${hash}`;
    expect(changed.count).toBe(1);
    for (const [name, fields] of callsOn(1, 1)) {
      for (const session of ["", "unknown", revoked, expired]) {
        const { error } = await send(requestOf(name, fields, session));
        expect([name, session, error]).toEqual([name, session, "key"]);
      }
    }
  });

  test("it counts as a bearer token only: not in a cookie, the query or the body", async () => {
    const url = `http://localhost/api/broadcast/list.json?token=${customer.session}&session=${customer.session}`;
    const cookie = { cookie: `session=${customer.session}; token=${customer.session}` };
    expect(await send(new Request(url, { headers: cookie }))).toMatchObject({ error: "key" });
    expect(await send(new Request(url, { headers: { authorization: customer.session } }))).toMatchObject({
      error: "key",
    });
  });

  test("key comes before unpaid, and unpaid before an unknown call", async () => {
    const lapsed = await createCustomer(stack, { paid: false });
    const unknown = (session: string) =>
      send(new Request("http://localhost/api/no/such.json", { headers: { authorization: `Bearer ${session}` } }));
    expect((await unknown("wrong")).error).toBe("key");
    expect((await unknown(lapsed.session)).error).toBe("unpaid");
    expect((await unknown(customer.session)).error).toBe("func");
  });
});

describe("reference, required parameters", () => {
  test("every required parameter that is left out, empty or given twice is refused with func", async () => {
    const broadcast = await createRestApi(stack.gateway, customer.session).draft();
    const good: Record<string, string> = { id: String(broadcast), status: "0", file: "x" };
    for (const { method, path, params } of endpoints) {
      for (const missing of Object.keys(params).filter((name) => params[name]!.required)) {
        const id = path.includes("/camp/") ? String(customer.campaignId) : good.id!;
        const others = Object.keys(params).filter((name) => params[name]!.required && name !== missing);
        const pairs = others.map((name) => `${name}=${name === "id" ? id : good[name]}`);
        for (const given of [[], [`${missing}=`], [`${missing}=1`, `${missing}=1`]]) {
          const form = [...pairs, ...given].join("&");
          const headers = { authorization: `Bearer ${customer.session}` };
          const url = `http://localhost${path}`;
          const request =
            method === "GET"
              ? new Request(`${url}?${form}`, { headers })
              : new Request(url, {
                  method,
                  headers: { ...headers, "content-type": "application/x-www-form-urlencoded" },
                  body: form,
                });
          const { error, message } = await send(request);
          expect([path, form, error, message?.includes(missing)]).toEqual([path, form, "func", true]);
        }
      }
    }
  });
});

describe("contract 3, forms of requests", () => {
  test("form, JSON and multipart with the same names do the same, numbers or texts in JSON alike", async () => {
    const id = await createRestApi(stack.gateway, customer.session).draft();
    const fields = {
      id,
      name: "N",
      statuses: 24,
      campaigns: `${customer.campaignId}`,
      text: "Tёxt & = + %",
      created_from: 3,
    };
    const multipart = new FormData();
    for (const [name, value] of Object.entries(fields)) multipart.set(name, String(value));
    const asTexts = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)]));
    const bodies: [Body, string?][] = [
      [new URLSearchParams(asTexts)],
      [JSON.stringify(fields), "application/json"],
      [JSON.stringify(asTexts), "application/json; charset=utf-8"],
      [JSON.stringify({ ...fields, campaigns: [customer.campaignId] }), "application/json"],
      [multipart],
    ];
    for (const body of bodies) {
      await call("POST broadcast/edit", { id });
      expect(await post("broadcast/edit", ...body)).toEqual({ status: "ok" });
      const { data } = await call("GET broadcast/get", { id });
      expect(data).toMatchObject({ ...fields, campaigns: [customer.campaignId] });
    }
  });

  test("unknown parameters of a POST are refused by name, and those of a GET ignored", async () => {
    for (const name of ["colour", "constructor", "campaign", "name[]"]) {
      const { error, message } = await call("POST broadcast/add", { name: "N", [name]: "1" });
      expect([error, message]).toEqual(["func", expect.stringContaining(name)]);
    }
    expect(await call("GET broadcast/list", { page: 3 })).toMatchObject({ status: "ok" });
  });

  test("a list of campaigns reaches those campaigns alone, however it is written", async () => {
    const { data } = await call("POST broadcast/add", { name: "N" });
    const { id } = data as { id: number };
    const [first, second] = customer.campaignIds as [number, number];
    await customer.putLeads(2, { from: 40, campaignId: second });
    for (const name of ["campaigns", "campaigns[]", "campaigns[0]"]) {
      expect(await call("POST broadcast/edit", { id, statuses: 31, text: "T", [name]: second })).toEqual({
        status: "ok",
      });
      expect((await call("GET broadcast/get", { id })).data).toMatchObject({ campaigns: [second], total: 2 });
      expect(await call("POST broadcast/edit", { id, statuses: 31, text: "T", [name]: first })).toEqual({
        status: "ok",
      });
      expect((await call("GET broadcast/get", { id })).data).toMatchObject({ campaigns: [first], total: 3 });
    }
    expect(await call("POST broadcast/start", { id, "campaigns[]": first })).toMatchObject({ error: "func" });
    expect((await call("POST broadcast/start", { id })).data).toEqual({ queued: 3 });
  });

  test("numbers are digits: no sign, exponent, hex, space or fraction, and nothing above 2^53 − 1", async () => {
    for (const bad of ["1e3", "0x10", "-1", "+1", " 1", "1.0", "NaN", "9007199254740992", "one", "١"]) {
      expect([bad, (await call("GET broadcast/get", { id: bad })).error]).toEqual([bad, "func"]);
      const block = { id: customer.campaignId, status: 0, delay: bad };
      expect([bad, (await call("POST camp/broadcast", block)).error]).toEqual([bad, "func"]);
    }
    expect((await call("POST camp/broadcast", { id: customer.campaignId, status: 5 })).error).toBe("func");
    expect((await call("POST camp/broadcast", { id: customer.campaignId, status: 0, on: 2 })).error).toBe("func");
  });

  test("an unknown path, another method and an unknown content type are func", async () => {
    const headers = { authorization: `Bearer ${customer.session}` };
    for (const [method, path] of [
      ["GET", "/api/nothing.json"],
      ["GET", "/api/broadcast/start.json"],
      ["DELETE", "/api/broadcast/list.json"],
      ["POST", "/api/broadcast/list.json"],
    ] as const) {
      const reply = await send(new Request(`http://localhost${path}`, { method, headers }));
      expect([method, path, reply.error]).toEqual([method, path, "func"]);
    }
    expect((await post("broadcast/add", "name: N", "text/yaml")).error).toBe("func");
    // Only paths that end in .json promise HTTP status 200.
    const other = await stack.gateway.handle(new Request("http://localhost/api/broadcast/list", { headers }));
    expect([other.status, ((await other.json()) as Envelope).error]).toEqual([404, "func"]);
  });
});

describe("reference, replies", () => {
  const zeroBlock = ["status", "on", "delay", "text", "media", "media_type", "button", "link"];
  const listed = [
    "id",
    "name",
    "status",
    "statuses",
    "campaigns",
    "total",
    "sent",
    "queued",
    "failed",
    "started",
    "created",
  ];
  const whole = [
    ...["id", "name", "status", "statuses", "campaigns", "created_from", "created_to", "status_from", "status_to"],
    ...["text", "media", "media_type", "button", "link", "total", "remaining", "queued", "sent", "failed"],
    ...["started", "created"],
  ];
  const isNumbers = (row: object, texts: string[]) =>
    Object.entries(row).every(([name, value]) =>
      name === "campaigns" ? Array.isArray(value) : typeof value === (texts.includes(name) ? "string" : "number"),
    );

  test("have the documented fields, all of them and no others, numbers as JSON numbers", async () => {
    const id = await createRestApi(stack.gateway, customer.session).running();
    const dataOf = async (name: CallName, fields: Fields = {}) => (await call(name, fields)).data;
    const [row] = (await dataOf("GET broadcast/list")) as object[];
    expect(Object.keys(row!)).toEqual(listed);
    expect(isNumbers(row!, ["name"])).toBe(true);
    const one = (await dataOf("GET broadcast/get", { id })) as object;
    expect(Object.keys(one)).toEqual(whole);
    expect(isNumbers(one, ["name", "text", "media", "button", "link"])).toBe(true);
    const [block] = (await dataOf("GET camp/broadcast", { id: customer.campaignId })) as object[];
    expect(Object.keys(block!)).toEqual(zeroBlock);
    expect(isNumbers(block!, ["text", "media", "button", "link"])).toBe(true);
    const quota = (await dataOf("GET broadcast/quota")) as object;
    expect(Object.keys(quota)).toEqual(["cap", "used", "queued"]);
    const draft = (await dataOf("POST broadcast/add")) as { id: number };
    expect(Object.keys(draft)).toEqual(["id"]);
    await call("POST broadcast/edit", { id: draft.id, statuses: 31, text: "T" });
    expect(Object.keys((await dataOf("POST broadcast/start", { id: draft.id })) as object)).toEqual(["queued"]);
  });

  test("of actions are nothing but ok", async () => {
    const id = await createRestApi(stack.gateway, customer.session).running();
    for (const action of ["pause", "resume", "cancel", "reset", "del"]) {
      expect(await call(`POST broadcast/${action}` as CallName, { id })).toEqual({ status: "ok" });
    }
  });
});

describe("contract 3, 20 simultaneous Starts", () => {
  test("are one success with the audience's size, and 19 times state", async () => {
    for (let round = 0; round < 5; round++) {
      const id = await createRestApi(stack.gateway, customer.session).draft();
      const replies = await Promise.all(Array.from({ length: 20 }, () => call("POST broadcast/start", { id })));
      const won = replies.filter(({ status }) => status === "ok");
      expect(won.map(({ data }) => data)).toEqual([{ queued: customer.leadIds.length }]);
      expect(replies.filter(({ error }) => error === "state").length).toBe(19);
      const [{ sends } = { sends: 0 }] = await stack.sql<{ sends: number }[]>`
        SELECT count(*) AS sends FROM send JOIN broadcast b USING (source_id) WHERE b.id = ${id}`;
      expect(sends).toBe(customer.leadIds.length);
    }
  });
});
