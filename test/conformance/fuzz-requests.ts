/** Requests to the gateway as nobody means them, from nearly right to nonsense; all from fast-check, so that a seed repeats them. */
import fc from "fast-check";
import { endpoints } from "../../gateway/app.ts";

export interface FuzzRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: Uint8Array<ArrayBuffer>;
}

/** Ids that exist, so that requests get past the checks of parameters. */
export interface KnownIds {
  campaigns: readonly number[];
  broadcasts: readonly number[];
  foreign: readonly number[];
  media: readonly string[];
}

const hostileNumbers = [
  "NaN",
  "1e3",
  "-1",
  "9007199254740992",
  "9007199254740993",
  "Infinity",
  "0x10",
  "1.5",
  "",
  " 1",
  "-0",
  "00",
  "٣",
  "1_000",
  "null",
  "99999999999999999999",
];
const hostileTexts = [
  "\u0000",
  "a\u0000b",
  "\ud800",
  "\udc00x",
  "__proto__",
  "constructor",
  "*",
  "_`[",
  "[a](",
  "😀".repeat(2049),
  "x".repeat(4097),
  "{click}{user}{nothing}",
  "'; DROP TABLE lead; --",
  "<script>alert(1)</script>",
  "\u202e",
  "%00",
  "%zz",
  "%",
  "\r\nSet-Cookie: a=b",
  '{"a":1}',
];
const names = [...new Set(endpoints.flatMap(({ params }) => Object.keys(params)))];
const strangeNames = [
  "__proto__",
  "constructor",
  "toString",
  "id[]",
  "id[0]",
  ...[
    "campaigns[]",
    "campaigns[0]",
    "campaigns[1]",
    "campaigns[999]",
    "campaigns[1000]",
    "campaigns[0][x]",
    "campaigns[",
  ],
  ...["Campaigns", "campaign", "campaigns ", "campaigns\u200b", "statuses[]", "total", "created"],
  "ID",
  "",
  "account_id",
  "accountId",
  "\u0000",
  "hasOwnProperty",
];

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

function valueFor(name: string, known: KnownIds): fc.Arbitrary<string> {
  const number = (list: readonly number[]) => fc.constantFrom(...list.map(String));
  const ids = fc.oneof(
    { weight: 6, arbitrary: number([...known.campaigns, ...known.broadcasts]) },
    { weight: 1, arbitrary: number(known.foreign) },
    { weight: 2, arbitrary: fc.constantFrom(...hostileNumbers) },
  );
  const text = fc.oneof(
    fc.constantFrom("Hello *you*", "{user}", "_i_ `c` [l](https://example.com)", ""),
    fc.constantFrom(...hostileTexts),
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.string({ maxLength: 40 }),
  );
  switch (name) {
    case "id":
      return ids;
    case "campaigns":
      return fc.oneof(
        fc.array(ids, { maxLength: 4 }).map((list) => list.join()),
        fc.constant(","),
        text,
      );
    case "status":
    case "media_type":
    case "on":
      return fc.oneof(fc.integer({ min: 0, max: 5 }).map(String), fc.constantFrom(...hostileNumbers));
    case "statuses":
    case "delay":
      return fc.oneof(
        fc.integer({ min: -2, max: 40 }).map(String),
        fc.constantFrom("31536000", "31536001", ...hostileNumbers),
      );
    case "media":
      return fc.oneof(fc.constantFrom(...known.media, ""), text);
    case "link":
      return fc.oneof(
        fc.constantFrom(
          "https://example.com/?c={click}",
          "tg://resolve?domain=a",
          "javascript:1",
          "https://{click}.com",
          "",
        ),
        text,
      );
    case "button":
    case "name":
    case "text":
      return text;
    default:
      return fc.oneof(fc.integer({ min: 0, max: 2_000_000_000 }).map(String), fc.constantFrom(...hostileNumbers));
  }
}

type Pairs = [name: string, value: string][];

function pairsFor(params: readonly string[], known: KnownIds): fc.Arbitrary<Pairs> {
  const given = fc.tuple(
    ...params.map((name) =>
      fc.option(
        valueFor(name, known).map((value): [string, string] => [name, value]),
        { freq: name === "id" || name === "status" ? 12 : 3 },
      ),
    ),
  );
  const extra = fc.array(
    fc.tuple(fc.constantFrom(...names, ...strangeNames), fc.constantFrom(...hostileTexts, ...hostileNumbers)),
    { maxLength: 2 },
  );
  const repeated = fc.boolean().chain((again) => (again ? fc.constant(true) : fc.boolean()));
  return fc.tuple(given, fc.option(extra, { freq: 3 }), repeated, fc.nat(20)).map(([pairs, more, _, twice]) => {
    const present = pairs.filter((pair): pair is [string, string] => pair !== null);
    const again = twice === 0 && present[0] ? [present[0]] : [];
    return [...present, ...(more ?? []), ...again];
  });
}

/** A form, encoded by ourselves: halves of surrogate pairs go out as bytes that are no UTF-8. */
function urlencoded(pairs: Pairs): string {
  return pairs.map(([name, value]) => `${percent(name)}=${percent(value)}`).join("&");
}

function percent(text: string): string {
  return text.isWellFormed() ? encodeURIComponent(text) : "%ED%A0%80";
}

function jsonOf(pairs: Pairs, style: number): string {
  const members = pairs.map(([name, value]) => {
    const bare = style % 3 === 0 && /^-?[0-9][0-9.e+-]*$/i.test(value) ? value : JSON.stringify(value);
    return `${JSON.stringify(name)}:${style % 7 === 0 ? `[${bare}]` : style % 11 === 0 ? `{"__proto__":${bare}}` : bare}`;
  });
  return `{${members.join(",")}}`;
}

function multipartOf(pairs: Pairs, style: number): Uint8Array<ArrayBuffer> {
  const part = ([name, value]: [string, string]) =>
    `--b\r\nContent-Disposition: form-data; name="${name}"${style % 5 === 0 ? '; filename="f"' : ""}\r\n\r\n${value}\r\n`;
  const whole = `${pairs.map(part).join("")}--b--\r\n`;
  // Broken ones: cut in the middle, without an end, with another boundary.
  if (style % 4 === 0) return encode(whole.slice(0, whole.length >> 1));
  if (style % 4 === 1) return encode(whole.replaceAll("--b--", ""));
  return encode(style % 9 === 0 ? whole.replaceAll("--b", "--c") : whole);
}

interface Shape {
  body?: Uint8Array<ArrayBuffer>;
  contentType?: string;
}

function bodyOf(pairs: Pairs): fc.Arbitrary<Shape> {
  const form = { body: encode(urlencoded(pairs)), contentType: "application/x-www-form-urlencoded" };
  const json = fc.nat(100).map((style) => ({ body: encode(jsonOf(pairs, style)), contentType: "application/json" }));
  const multipart = fc
    .nat(100)
    .map((style) => ({ body: multipartOf(pairs, style), contentType: "multipart/form-data; boundary=b" }));
  const wrong: fc.Arbitrary<Shape> = fc.constantFrom(
    { ...form, contentType: "text/plain" },
    { ...form, contentType: "application/json" },
    { ...form, contentType: "multipart/form-data" },
    { ...form, contentType: "application/x-www-form-urlencoded; charset=utf-16" },
    { body: form.body },
    { contentType: "application/json" },
    { body: encode("[".repeat(50_000)), contentType: "application/json" },
    { body: encode("null"), contentType: "application/json" },
    { body: new Uint8Array([0xff, 0xfe, 0x00]), contentType: "application/json" },
    { body: encode(`text=${"x".repeat(20_000)}&${urlencoded(pairs)}`), contentType: form.contentType },
  );
  const bytes = fc.uint8Array({ maxLength: 200 }).map((random) => ({ ...form, body: new Uint8Array(random) }));
  return fc.oneof(
    { weight: 6, arbitrary: fc.constant(form) },
    { weight: 4, arbitrary: json },
    { weight: 3, arbitrary: multipart },
    { weight: 2, arbitrary: wrong },
    { weight: 1, arbitrary: bytes },
  );
}

/** Larger than any form may be. */
const oversize = { body: new Uint8Array(256 * 1024 + 1).fill(0x61), contentType: "application/x-www-form-urlencoded" };

export function fuzzRequests(session: string, known: KnownIds): fc.Arbitrary<FuzzRequest> {
  const tokens = fc.oneof(
    { weight: 40, arbitrary: fc.constant(`Bearer ${session}`) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "",
        "Bearer ",
        "Bearer x",
        `Basic ${session}`,
        `bearer ${session}`,
        `Bearer ${"x".repeat(300)}`,
      ),
    },
  );
  const target = fc.constantFrom(...endpoints).chain((endpoint) =>
    pairsFor(Object.keys(endpoint.params), known).chain((pairs) =>
      fc.record({
        method: fc.oneof(
          { weight: 12, arbitrary: fc.constant(endpoint.method as string) },
          { weight: 1, arbitrary: fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS") },
        ),
        path: fc.oneof(
          { weight: 20, arbitrary: fc.constant(endpoint.path as string) },
          {
            weight: 1,
            arbitrary: fc.constantFrom(
              `${endpoint.path}/`,
              `${endpoint.path}.json`,
              "/api/x.json",
              "/api/__proto__.json",
              "/api//broadcast/list.json",
            ),
          },
        ),
        pairs: fc.constant(pairs),
        shape: fc.oneof(
          { weight: 60, arbitrary: bodyOf(pairs) },
          { weight: 1, arbitrary: fc.constant(oversize as Shape) },
        ),
        authorization: tokens,
      }),
    ),
  );
  return target.map(({ method, path, pairs, shape, authorization }) => {
    const headers = { ...(authorization !== "" && { authorization }) };
    if (method === "GET") return { method, path: `${path}?${urlencoded(pairs)}`, headers };
    const { body, contentType } = shape;
    return { method, path, headers: { ...headers, ...(contentType && { "content-type": contentType }) }, body };
  });
}
