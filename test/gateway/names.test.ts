import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { endpoints } from "../../gateway/app.ts";
import { checkPostQuery, choosing, namedValues, readBack } from "../../gateway/names.ts";
import { id } from "../../gateway/params.ts";
import { authorized, type Envelope, envelopeOf, setup } from "./gateway-world.ts";

const edit = "/api/broadcast/edit.json";

type Pair = readonly [name: string, value: string];

/** One way to write a body; each knows the type that it says it has. */
type Encode = (pairs: readonly Pair[]) => { body: string; type: string };

const percent = encodeURIComponent;
const urlencoded: Encode = (pairs) => ({
  body: pairs.map(([name, value]) => `${percent(name)}=${percent(value)}`).join("&"),
  type: "application/x-www-form-urlencoded",
});
const multipart: Encode = (pairs) => ({
  body: `${pairs.map(([name, value]) => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`).join("")}--x--\r\n`,
  type: "multipart/form-data; boundary=x",
});
const jsonOf = (pairs: readonly Pair[], write: (value: string) => string) => ({
  body: `{${pairs.map(([name, value]) => `${JSON.stringify(name)}:${write(value)}`).join()}}`,
  type: "application/json",
});
const jsonTexts: Encode = (pairs) => jsonOf(pairs, (value) => JSON.stringify(value));
const encodings: [string, Encode][] = [
  ["a form", urlencoded],
  ["multipart", multipart],
  ["JSON", jsonTexts],
];

interface Audience {
  campaignIds: bigint[];
  statuses: number[];
  createdFromTime?: { seconds: bigint };
  createdToTime?: { seconds: bigint };
  statusFromTime?: { seconds: bigint };
  statusToTime?: { seconds: bigint };
}

/** To set up a gateway takes longer than to answer hundreds of requests. */
const shared = setup();

/** What edit.json of broadcast 5 made of a body: the audience that the service was given, or the refusal. */
async function edited(
  { body, type }: { body: string; type: string },
  query = "",
): Promise<{ audience?: Audience; reply: Envelope }> {
  const before = shared.calls.length;
  const reply = await envelopeOf(shared.post(`${edit}${query}`, body, { "content-type": type }));
  const request = shared.calls[before]?.request as { audience: Audience } | undefined;
  return { reply, ...(request && { audience: request.audience }) };
}

const withId = (pairs: readonly Pair[]): Pair[] => [["id", "5"], ...pairs];
const pairsOf = (written: string): Pair[] =>
  written.split("&").map((pair) => [pair.split("=")[0]!, pair.split("=")[1] ?? ""] as const);

describe("a list", () => {
  const understood: [written: string, ids: bigint[]][] = [
    ["campaigns=12", [12n]],
    ["campaigns=12,18", [12n, 18n]],
    ["campaigns[]=12", [12n]],
    ["campaigns[0]=12", [12n]],
    ["campaigns[0]=12&campaigns[1]=18", [12n, 18n]],
    ["campaigns[1]=12&campaigns[0]=18", [12n, 18n]],
    ["campaigns[3]=12&campaigns[999]=18", [12n, 18n]],
    ["campaigns=12,12", [12n, 12n]],
    ["campaigns=", []],
  ];
  for (const [written, ids] of understood) {
    test.each(encodings)(`may be written as ${written} in %s`, async (_name, encode) => {
      expect((await edited(encode(withId(pairsOf(written))))).audience?.campaignIds).toEqual(ids);
    });
  }

  test.each([
    ["a form", urlencoded],
    ["multipart", multipart],
  ] as [string, Encode][])("may be written as campaigns[]=12&campaigns[]=18 in %s", async (_name, encode) => {
    const { audience } = await edited(encode(withId(pairsOf("campaigns[]=12&campaigns[]=18"))));
    expect(audience?.campaignIds).toEqual([12n, 18n]);
  });

  test.each([
    ['"campaigns":[12,18]', [12n, 18n]],
    ['"campaigns":["12",18]', [12n, 18n]],
    ['"campaigns":12', [12n]],
    ['"campaigns":[]', []],
    ['"campaigns[]":[12,18]', [12n, 18n]],
    ['"campaigns[]":12', [12n]],
    ['"campaigns[0]":12,"campaigns[1]":"18"', [12n, 18n]],
  ])("may be written in JSON as %s", async (members, ids) => {
    const { audience } = await edited({ body: `{"id":5,${members}}`, type: "application/json" });
    expect(audience?.campaignIds).toEqual(ids);
  });

  test.each([
    "null",
    "true",
    "{}",
    '{"0":12}',
    "[[12]]",
    "[null]",
    "[{}]",
    "[12.0]",
    "[1e1]",
    '[""]',
    '[" 12"]',
    "12.5",
  ])("is not %s in JSON", async (written) => {
    const { reply, audience } = await edited({ body: `{"id":5,"campaigns":${written}}`, type: "application/json" });
    expect(audience).toBeUndefined();
    expect(reply.error).toBe("func");
    expect(reply.message).toMatch(/^(every id in )?campaigns must be /);
  });

  const refused: [written: string, message: RegExp][] = [
    ["campaigns=12&campaigns=18", /^campaigns is given more than once: write campaigns=1,2\.$/],
    [
      "campaigns=12&campaigns[]=18",
      /^campaigns is written in more than one way \(campaigns, campaigns\[\]\): use one\.$/,
    ],
    ["campaigns=&campaigns[]=18", /more than one way/],
    ["campaigns[]=12&campaigns[0]=18", /more than one way/],
    ["campaigns[0]=12&campaigns[0]=18", /^campaigns\[0\] is given more than once\.$/],
    ["campaigns[]=", /^every id in campaigns must be a whole number/],
    ["campaigns[0]=", /^every id in campaigns must be a whole number/],
    ["campaigns[]=12,18", /^every id in campaigns must be a whole number/],
    ["campaigns[00]=12", /^campaigns\[00\] is not understood: write campaigns=1,2 or campaigns\[\]=1/],
    ["campaigns[1000]=12", /indexes from 0 to 999\.$/],
    ["campaigns[99999999999999999999]=12", /is not understood/],
    ["campaigns[-1]=12", /is not understood/],
    ["campaigns[0][x]=12", /^campaigns\[0\]\[x\] is not understood/],
    ["campaigns[0][]=12", /is not understood/],
    ["campaigns[][]=12", /is not understood/],
    ["campaigns[x]=12", /is not understood/],
    ["campaigns[ 0]=12", /is not understood/],
    ["campaigns[=12", /is not understood/],
    ["campaigns[0=12", /is not understood/],
    ["campaigns[0]x=12", /is not understood/],
  ];
  for (const [written, message] of refused) {
    test(`is not ${written}`, async () => {
      const { reply, audience } = await edited(urlencoded(withId(pairsOf(written))));
      expect(audience).toBeUndefined();
      expect(reply).toMatchObject({ error: "func", message: expect.stringMatching(message) });
    });
  }
});

describe("an unknown name in a body", () => {
  const shown: [name: string, told: string][] = [
    ["campaign", "campaign"],
    ["Campaigns", "Campaigns"],
    ["CAMPAIGNS", "CAMPAIGNS"],
    ["campaign_ids", "campaign_ids"],
    ["campaigns.0", "campaigns.0"],
    ["campaigns]", "campaigns]"],
    [" campaigns", '" campaigns"'],
    ["campaigns ", '"campaigns "'],
    ["campaigns\u200B", '"campaigns\\u{200b}"'],
    ["\u0441ampaigns", '"\\u{441}ampaigns"'],
    ["\uFEFFcampaigns", '"\\u{feff}campaigns"'],
    ["cam\0paigns", '"cam\\u{0}paigns"'],
    ["<b>", '"\\u{3c}b\\u{3e}"'],
    ['a"b\\', '"a\\u{22}b\\u{5c}"'],
    ["a\nb", '"a\\u{a}b"'],
    ["😀", '"\\u{1f600}"'],
    ["", '""'],
    ["__proto__", "__proto__"],
    ["constructor", "constructor"],
    ["toString", "toString"],
    ["limit", "limit"],
    ["on_", "on_"],
    ["x".repeat(61), `"${"x".repeat(60)}…"`],
    ["x".repeat(10_000), `"${"x".repeat(60)}…"`],
  ];
  for (const [name, told] of shown) {
    test(`is refused and named: ${JSON.stringify(name.slice(0, 70))}`, async () => {
      for (const encode of [urlencoded, jsonTexts]) {
        const { reply, audience } = await edited(
          encode(
            withId([
              ["campaigns", "12"],
              [name, "18"],
            ]),
          ),
        );
        expect(audience).toBeUndefined();
        expect(reply.error).toBe("func");
        expect(reply.message).toStartWith(`${told} is not a parameter of this call, which takes id, name, statuses, `);
        expect(reply.message!.length).toBeLessThan(900);
      }
    });
  }

  test("is told before what is missing or wrong", async () => {
    const reply = await envelopeOf(shared.post("/api/broadcast/start.json", { ID: "5" }));
    expect(reply).toMatchObject({ error: "func", message: "ID is not a parameter of this call, which takes id." });
  });

  test.each(["id[]", "id[0]", "statuses[]", "text[0]", "created_from[]"])(
    "that makes a list of one value is told as that: %s",
    async (name) => {
      const base = name.split("[")[0]!;
      const { reply } = await edited(urlencoded([[name, "5"]]));
      expect(reply.message).toBe(`${name} is not understood: ${base} takes one value, as ${base}=.`);
    },
  );

  test("is refused by every POST, whatever its value", async () => {
    // An upload takes multipart only.
    const forms = endpoints.filter((endpoint) => endpoint.method === "POST" && !endpoint.isUpload);
    for (const { method, path } of forms) {
      for (const body of ["nothing=1", "nothing=%00", "nothing", "nothing=1&nothing=2", "nothing[]="]) {
        const before = shared.calls.length;
        const reply = await envelopeOf(
          shared.post(path, body, { "content-type": "application/x-www-form-urlencoded" }),
        );
        expect([method, path, reply.error, reply.message]).toEqual([
          method,
          path,
          "func",
          expect.stringMatching(/^nothing(\[\])? is not a parameter of this call, which takes /),
        ]);
        expect(shared.calls.length).toBe(before);
      }
    }
  });

  test("leaves every object's prototype as it was", async () => {
    await edited({ body: '{"id":5,"__proto__":{"polluted":1}}', type: "application/json" });
    await edited(urlencoded([["__proto__[polluted]", "1"]]));
    expect("polluted" in {}).toBe(false);
  });
});

describe("what a client has read", () => {
  /** The names that the API reference says a call replies with. */
  function replyNames(path: string): string[] {
    const data = endpoints.find((endpoint) => endpoint.method === "GET" && endpoint.path === path)!.data!;
    return Object.keys((data.type === "array" ? data.items : data).properties);
  }
  const returned = ["/api/broadcast/get.json", "/api/camp/broadcast.json"].flatMap(replyNames);
  test("may be sent back: all that get.json and camp/broadcast.json return and that chooses nothing", () => {
    expect([...readBack, ...choosing].sort()).toEqual([...new Set(returned)].sort());
  });

  test("may be sent back to edit.json as it came, and chooses what it chose", async () => {
    const reply = {
      ...{ id: 5, name: "N", status: 2, statuses: 24, campaigns: [12, 18], created_from: 0, created_to: 0 },
      ...{ status_from: 7, status_to: 9, text: "T", media: "", media_type: 0, button: "", link: "" },
      ...{ total: 1300, remaining: 60, queued: 0, sent: 1240, failed: 0, started: 1717500000, created: 1717490000 },
    };
    expect(Object.keys(reply).sort()).toEqual(replyNames("/api/broadcast/get.json").sort());
    const { audience } = await edited({ body: JSON.stringify(reply), type: "application/json" });
    expect(audience).toMatchObject({
      campaignIds: [12n, 18n],
      statusFromTime: { seconds: 7n },
      statusToTime: { seconds: 9n },
    });
  });

  test.each(choosing.filter((name) => name !== "id"))("is refused by Start where it would choose: %s", async (name) => {
    const reply = await envelopeOf(shared.post("/api/broadcast/start.json", { id: "5", [name]: "1" }));
    expect(reply.message).toBe(`${name} is not a parameter of this call, which takes id.`);
  });

  test("is refused by add.json where it names another broadcast", async () => {
    const reply = await envelopeOf(shared.post("/api/broadcast/add.json", { id: "5", name: "N" }));
    expect(reply.message).toBe("id is not a parameter of this call, which takes name.");
  });
});

describe("a name in the query", () => {
  const json = { type: "application/json", body: '{"id":5}' };

  test.each([
    "campaigns=12",
    "campaigns[]=12",
    "campaigns%5B0%5D=12",
    "Campaigns=12",
    "id=5",
    "text",
    "created-from=1",
  ])("of a POST is refused where it is, or looks like, a parameter: %s", async (query) => {
    const { reply, audience } = await edited(json, `?${query}`);
    expect(audience).toBeUndefined();
    expect(reply.message).toMatch(/ stands in the query: a POST takes \w+ from its body\.$/);
  });

  test.each(["campaigns=12", "Campaigns[]=12", "statuses=1", "created_to=5"])(
    "of a Start is refused where it would choose: %s",
    async (query) => {
      const reply = await envelopeOf(shared.post(`/api/broadcast/start.json?${query}`, { id: "5" }));
      expect(reply.message).toMatch(/^[\w[\]]+ is not (a parameter of this call, which takes id|understood)/);
    },
  );

  test("of a POST is ignored where it is anything else", async () => {
    expect((await edited(json, "?_=1&utm_source=x&page=2&page=3&__proto__=1&%ff=1&=&")).audience).toBeDefined();
  });

  test.each(endpoints.filter(({ method }) => method === "GET").map(({ path }) => [path]))(
    "of GET %s that nobody knows is ignored",
    async (path) => {
      const reply = await envelopeOf(shared.get(`${path}?page=1&page=2&x=%00&y=%ff&campaigns[]=1`));
      expect(reply.message ?? "").not.toContain("page");
    },
  );

  test.each(["GET", "POST"] as const)("of a strict %s is refused, but for what defeats caches", (method) => {
    const params = { id: id("") };
    const rules = { method, strictQuery: true, params };
    const ask = (...names: string[]) => {
      const form = new Map(names.map((name) => [name, { kind: "text", text: "5" }] as const));
      if (method === "GET") return namedValues(rules, form);
      return checkPostQuery(rules, new Set(names));
    };
    expect(() => ask("_", "t", "ts", "v")).not.toThrow();
    for (const name of ["page", "limit", "T", "_t", "__proto__", "v[]"]) {
      expect(() => ask("_", name)).toThrow(`${name} is not a parameter of this call, which takes id.`);
    }
  });
});

describe("the API reference", () => {
  test("has the list as a text in forms and as an array in JSON", async () => {
    const response = await shared.handle(new Request("http://localhost/openapi.json", { headers: authorized }));
    const { paths } = (await response.json()) as { paths: Record<string, Record<string, never>> };
    const { content } = (paths[edit] as unknown as { post: { requestBody: { content: Content } } }).post.requestBody;
    const campaigns = (type: string) => content[type]!.schema.properties.campaigns!;
    expect(campaigns("application/x-www-form-urlencoded").type).toBe("string");
    expect(campaigns("application/json").anyOf?.map(({ type }) => type)).toEqual(["array", "string"]);
  });
});

type Content = Record<
  string,
  { schema: { properties: Record<string, { type?: string; anyOf?: { type: string }[] }> } }
>;

/**
 * The property that all of this is for. A reader of the reference takes a name for the parameter that it resembles, and
 * expects what stands behind it to limit what is chosen. Nothing that is accepted may choose more than that.
 */
describe("no set of parameters that is accepted", () => {
  const windows = ["created_from", "created_to", "status_from", "status_to"] as const;
  const spellings = (name: string) => [
    ...[`${name}[]`, `${name}[0]`, `${name}[1]`, `${name}[7]`, `${name}[x]`, `${name}[0][a]`],
    ...[name.toUpperCase(), ` ${name}`, `${name} `, `${name}\u200B`, name.replaceAll("_", "-"), `${name}.0`],
    ...[`${name}[`, `${name}]`, `${name[0]!.toUpperCase()}${name.slice(1)}`, name.replaceAll("_", "")],
  ];
  const meantBy = (name: string): string =>
    name
      .split(/[[.]/, 1)[0]!
      .toLowerCase()
      .replaceAll(/[^a-z]/g, "");
  const bases = ["campaigns", "campaigns", "statuses", ...windows];
  const nameArb = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...bases, "campaigns[]", "campaigns[0]", "campaigns[1]") },
    { weight: 1, arbitrary: fc.constantFrom(...bases.flatMap(spellings)) },
  );
  const valueArb = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 31 }).map(String) },
    { weight: 1, arbitrary: fc.constantFrom("", "0", "12,18", " 12", "12,", "1e1", "0x1f", "-1") },
  );
  const pairsArb = fc.array(fc.tuple(nameArb, valueArb), { minLength: 1, maxLength: 3 });
  const queryArb = fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.tuple(nameArb, valueArb) },
  );
  const jsonStyle = fc.constantFrom<(value: string) => string>(
    (value) => JSON.stringify(value),
    (value) => (/^(0|[1-9][0-9]*)$/.test(value) ? value : JSON.stringify(value)),
    (value) =>
      `[${value
        .split(",")
        .map((item) => JSON.stringify(item))
        .join()}]`,
  );
  const bodyArb = pairsArb.chain((pairs) =>
    fc
      .oneof(
        fc.constantFrom(urlencoded, multipart),
        jsonStyle.map(
          (write): Encode =>
            (all) =>
              jsonOf(all, write),
        ),
      )
      .map((encode) => ({ pairs, ...encode(withId(pairs)) })),
  );

  test("chooses more than a reader of the reference would think", async () => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(bodyArb, queryArb, async ({ pairs, ...body }, extra) => {
        const query = extra === null ? "" : `?${urlencoded([extra]).body}`;
        const { audience } = await edited(body, query);
        if (audience === undefined) return;
        accepted += 1;
        expectNotWider(audience, extra === null ? pairs : [...pairs, extra]);
      }),
      { numRuns: 2_000 },
    );
    // Or else the property would have looked at nothing.
    expect(accepted).toBeGreaterThan(200);
  });

  function expectNotWider(audience: Audience, said: readonly Pair[]): void {
    const about = (param: string) => said.filter(([name]) => meantBy(name) === param.replaceAll("_", ""));
    const ids = about("campaigns").flatMap(([, value]) => value.match(/[0-9]+/g) ?? []);
    if (about("campaigns").some(([, value]) => value !== "")) {
      expect(audience.campaignIds).not.toEqual([]);
      expect(audience.campaignIds.map(String).filter((id) => !ids.includes(id))).toEqual([]);
    }
    const masks = about("statuses").map(([, value]) => Number(value));
    expect(audience.statuses.filter((status) => !masks.some((mask) => mask & (1 << (status - 1))))).toEqual([]);
    const chosen = [audience.createdFromTime, audience.createdToTime, audience.statusFromTime, audience.statusToTime];
    windows.forEach((window, index) => {
      const bounds = about(window)
        .map(([, value]) => value)
        .filter((value) => value !== "" && value !== "0");
      if (bounds.length > 0) expect(bounds.map(Number)).toEqual([Number(chosen[index]?.seconds)]);
    });
  }
});
