import { describe, expect, test } from "bun:test";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { accountId, envelopeOf, type Replies, setup } from "./gateway-world.ts";

const quota = "/api/broadcast/quota.json";
const unknownSession = () => new DomainError(ErrorReason.SESSION_INVALID, "unknown");
const notYours = () => new DomainError(ErrorReason.NOT_YOURS, "no such bot");

/** Tokens say whose they are: `7:a` is a session of account 7; others are nobody's. */
const sessions: Replies = {
  ResolveSession: ({ token }: { token: string }) => {
    const account = /^([0-9]+)-/.exec(token)?.[1];
    return account === undefined ? unknownSession() : { accountId: BigInt(account), paid: true };
  },
};

function world(options: Parameters<typeof setup>[1], replies: Replies = {}) {
  const { handle, calls, sessions: asked, ...rest } = setup({ ...sessions, ...replies }, options);
  const call = (token: string, path = quota, init: RequestInit = {}) =>
    handle(
      new Request(`http://localhost${path}`, {
        ...init,
        headers: { authorization: `Bearer ${token}`, ...init.headers },
      }),
    );
  return { ...rest, handle, call };
}

/** The code that a reply carries in body and header, which are one. */
async function codeOf(reply: Response | Promise<Response>): Promise<string | undefined> {
  const response = await reply;
  const { error } = await envelopeOf(response);
  expect(response.headers.get("x-error") ?? undefined).toBe(error as string);
  return error;
}

/** A work that begins when a call of it comes and ends when the test says so. */
function gated() {
  const gate = Promise.withResolvers<object>();
  let running = 0;
  let most = 0;
  const reply = async () => {
    running += 1;
    most = Math.max(most, running);
    await gate.promise;
    running -= 1;
    return {};
  };
  return { reply, open: () => gate.resolve({}), most: () => most };
}

describe("the rate of calls", () => {
  // Ten seconds are counted together.
  test("is one session's: what it may not, another one of its account may", async () => {
    const gateway = world({ limits: { sessionCallsPerSecond: 1 } });
    for (let n = 0; n < 10; n++) expect(await codeOf(gateway.call("7-a"))).toBeUndefined();
    const refused = await gateway.call("7-a");
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 11);
    expect(await codeOf(refused)).toBe("limit");
    expect(await codeOf(gateway.call("7-b"))).toBeUndefined();
  });

  test("is one account's over all its sessions, and no other account's", async () => {
    const gateway = world({ limits: { accountCallsPerSecond: 1 } });
    for (let n = 0; n < 10; n++) expect(await codeOf(gateway.call(`7-${n}`))).toBeUndefined();
    expect(await codeOf(gateway.call("7-new"))).toBe("limit");
    expect(await codeOf(gateway.call("8-a"))).toBeUndefined();
  });

  test("is looked at before the session is asked for again, so that a flood costs no RPC", async () => {
    const flooded = setup(sessions, { limits: { sessionCallsPerSecond: 1 } });
    const call = () =>
      flooded.handle(new Request(`http://localhost${quota}`, { headers: { authorization: "Bearer 7-a" } }));
    for (let n = 0; n < 11; n++) await call();
    const asked = flooded.sessions.length;
    for (let n = 0; n < 3; n++) expect(await codeOf(call())).toBe("limit");
    expect(flooded.sessions.length).toBe(asked);
  });

  test("counts calls that there are not and unpaid ones too", async () => {
    const gateway = world({ limits: { sessionCallsPerSecond: 1 } }, { ResolveSession: { accountId, paid: false } });
    for (let n = 0; n < 10; n++) expect(await codeOf(gateway.call("7-a", "/api/nothing.json"))).toBe("unpaid");
    expect(await codeOf(gateway.call("7-a", "/api/nothing.json"))).toBe("limit");
  });
});

describe("an account's share", () => {
  const limits = { share: { atOnce: 2, besideOthers: 2, waiting: 3 } };

  test("is so many at once; more wait, and more than that are refused with the time to wait", async () => {
    const work = gated();
    const gateway = world({ limits }, { GetQuota: work.reply });
    const calls = Array.from({ length: 6 }, () => gateway.call("7-a"));
    const refused = await Promise.race(calls);
    expect([refused.headers.get("retry-after"), await codeOf(refused)]).toEqual(["1", "limit"]);
    work.open();
    const codes = await Promise.all(calls.map(async (reply) => (await reply).headers.get("x-error")));
    expect(codes.filter((code) => code === null)).toHaveLength(5);
    expect(work.most()).toBe(2);
  });

  test("is nobody else's", async () => {
    const work = gated();
    const stuck = ({ accountId: account }: { accountId: bigint }) => (account === 7n ? work.reply() : {});
    const gateway = world({ limits }, { GetQuota: stuck });
    const flood = Array.from({ length: 64 }, () => gateway.call("7-a"));
    expect(await codeOf(gateway.call("8-a"))).toBeUndefined();
    work.open();
    await Promise.all(flood);
  });
});

describe("whoever has no session", () => {
  const limits = { addressFailuresPerMinute: 3 };

  test("is told key, and limit after too many wrong tokens from its address", async () => {
    const gateway = world({ limits });
    for (let n = 0; n < 3; n++) expect(await codeOf(gateway.call(`wrong${n}`))).toBe("key");
    const refused = await gateway.call("wrong");
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
    expect(await codeOf(refused)).toBe("limit");
  });

  test("stays key without any token: waiting would not help", async () => {
    const gateway = setup(sessions, { limits });
    const call = () => gateway.handle(new Request(`http://localhost${quota}`));
    for (let n = 0; n < 5; n++) expect(await codeOf(call())).toBe("key");
  });

  test("takes nothing from those who have one, old or new, behind the same address", async () => {
    const gateway = world({ limits });
    expect(await codeOf(gateway.call("7-known"))).toBeUndefined();
    await Promise.all(Array.from({ length: 10 }, (_, n) => gateway.call(`wrong${n}`)));
    expect(await codeOf(gateway.call("7-known"))).toBeUndefined();
    expect(await codeOf(gateway.call("8-new"))).toBeUndefined();
  });

  test("that is revoked is key at once, however often it was right", async () => {
    let live = true;
    const gateway = world({}, { ResolveSession: () => (live ? { accountId, paid: true } : unknownSession()) });
    expect(await codeOf(gateway.call("7-a"))).toBeUndefined();
    live = false;
    expect(await codeOf(gateway.call("7-a"))).toBe("key");
  });
});

describe("Telegram's updates", () => {
  const limits = { addressFailuresPerMinute: 3 };
  const right: Replies = {
    HandleUpdate: ({ webhookSecret }: { webhookSecret?: string }) => (webhookSecret === "right" ? {} : notYours()),
  };
  const update = (gateway: ReturnType<typeof setup>, secret: string, body = '{"update_id":1}') =>
    gateway.handle(
      new Request("http://localhost/telegram/5", {
        method: "POST",
        body,
        headers: { "x-telegram-bot-api-secret-token": secret },
      }),
    );

  test("with wrong secrets are 403, and 429 after too many of them", async () => {
    const gateway = setup(right, { limits });
    for (let n = 0; n < 3; n++) expect((await update(gateway, `wrong${n}`)).status).toBe(403);
    const refused = await update(gateway, "wrong");
    expect([refused.status, refused.headers.get("x-error")]).toEqual([429, "limit"]);
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
  });

  test("with the right one are taken whatever came from their address before", async () => {
    const gateway = setup(right, { limits });
    await Promise.all(Array.from({ length: 10 }, (_, n) => update(gateway, `wrong${n}`)));
    for (let n = 0; n < 100; n++) expect((await update(gateway, "right")).status).toBe(200);
  });

  test("may have a mebibyte, and no more", async () => {
    const gateway = setup(right);
    const filled = (bytes: number) => `{"update_id":1,"x":"${"a".repeat(bytes - 22)}"}`;
    expect(await (await update(gateway, "right", filled(900_000))).text()).toBe("");
    expect(gateway.calls.at(-1)?.request).toMatchObject({ updateJson: filled(900_000) });
    // What can never be taken is answered as if it was; the service hears nothing of it but the secret.
    expect((await update(gateway, "right", filled(1024 * 1024 + 1))).status).toBe(200);
    expect(gateway.calls.at(-1)?.request).toMatchObject({ updateJson: "{}" });
  });

  test("that wait while others are checked do not wait for what an address floods us with", async () => {
    const stuck = Promise.withResolvers<object>();
    const gateway = setup(
      {
        HandleUpdate: ({ webhookSecret }: { webhookSecret?: string }) =>
          webhookSecret === "right" ? {} : stuck.promise,
      },
      { trustedProxies: "" },
    );
    expect((await update(gateway, "right")).status).toBe(200);
    const flood = Array.from({ length: 200 }, (_, n) => update(gateway, `wrong${n}`));
    expect((await update(gateway, "right")).status).toBe(200);
    stuck.resolve({});
    await Promise.all(flood);
  });
});

describe("x-error", () => {
  test.each([
    ["/nothing", "GET", 404, "func"],
    ["/telegram/5", "POST", 403, "key"],
    ["/telegram/x", "POST", 403, "key"],
    ["/api/nothing.json", "GET", 200, "key"],
    ["/api", "PUT", 401, "key"],
  ])("is in the reply of %s %s", async (path, method, status, code) => {
    const reply = await setup().handle(new Request(`http://localhost${path}`, { method }));
    expect([reply.status, reply.headers.get("x-error")]).toEqual([status, code]);
  });

  test("is not there where all is well, and a page of another origin may read it", async () => {
    const reply = await setup().get(quota);
    expect(reply.headers.has("x-error")).toBe(false);
    const exposed = reply.headers.get("access-control-expose-headers")!.split(", ");
    expect(exposed).toEqual(expect.arrayContaining(["x-error", "retry-after", "x-revision", "x-request-id"]));
  });
});
