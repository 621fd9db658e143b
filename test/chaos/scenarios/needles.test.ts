import { describe, expect, test } from "bun:test";
import { hitsIn, needlesOf } from "./needles.ts";

const token = "8100001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
const secret = token.split(":")[1]!;

const places: Record<string, string> = {
  "a Bot API URL": `POST https://api.telegram.org/bot${token}/sendMessage`,
  "an encoded URL": `?to=${encodeURIComponent(token)}`,
  "the secret alone": `secret=${secret}`,
  "bytes of a table": `\\x00${Buffer.from(token).toString("hex")}ff`,
  "hexadecimal in capitals": Buffer.from(secret).toString("hex").toUpperCase(),
  ...Object.fromEntries(
    ["", "a", "ab", "abc"].map((before) => [
      `base64 after ${before.length} bytes`,
      Buffer.from(`${before}${token}z`).toString("base64"),
    ]),
  ),
  "base64url of the secret": Buffer.from(`x${secret}y`).toString("base64url"),
};

describe("the search for a token", () => {
  for (const [place, text] of Object.entries(places)) {
    test(`finds it in ${place}`, () => {
      expect(hitsIn(text, needlesOf(token))).toBeGreaterThan(0);
    });
  }

  test("finds nothing in other tokens", () => {
    expect(hitsIn("8100001:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", needlesOf(token))).toBe(0);
  });
});
