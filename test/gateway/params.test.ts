import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { FormValue } from "../../gateway/form.ts";
import { campaignIds, id, integer, unixSeconds } from "../../gateway/params.ts";
import { envelopeOf, setup } from "./gateway-world.ts";

const textValue = (text: string): FormValue => ({ kind: "text", text });
const maxId = Number.MAX_SAFE_INTEGER;

describe("an id", () => {
  const read = (text: string) => id("").read(textValue(text), "id");

  test("is any whole number from 1 to 2^53 - 1 in digits", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: maxId }), (number) => read(String(number)) === BigInt(number)));
  });

  test.each([
    "",
    "0",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1e3",
    "0x10",
    "1.0",
    "1_000",
    "9007199254740992",
    "18446744073709551617",
    "NaN",
    "Infinity",
    "٣",
    "1\n",
    "٠",
    "null",
    "true",
  ])("is not %p", (text) => {
    expect(() => read(text)).toThrow("id must be a whole number from 1 to 9007199254740991, in digits.");
  });

  test("is never read as anything but the digits that were written", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const digits = /^[0-9]{1,16}$/.test(text) && Number(text) >= 1 && Number(text) <= maxId;
        if (digits) expect(read(text)).toBe(BigInt(text));
        else expect(() => read(text)).toThrow();
      }),
    );
  });

  test.each(["5", '"5"'])("may be written in JSON as %s", async (written) => {
    const world = setup();
    await world.post("/api/broadcast/pause.json", `{"id":${written}}`, { "content-type": "application/json" });
    expect(world.calls[0]?.request).toMatchObject({ broadcastId: 5n });
  });

  test.each(["1e3", "5.0", "9007199254740993", "-5", "[5]", "true", "null"])("is not %s in JSON", async (written) => {
    const world = setup();
    const body = `{"id":${written}}`;
    const reply = await envelopeOf(
      world.post("/api/broadcast/pause.json", body, { "content-type": "application/json" }),
    );
    expect(reply).toMatchObject({ error: "func" });
    expect(world.calls).toEqual([]);
  });
});

describe("a whole number", () => {
  test("keeps to its bounds, both included", () => {
    const param = integer("", { minimum: 0, maximum: 31 });
    const read = (text: string) => param.read(textValue(text), "statuses");
    expect([read("0"), read("31"), read("007")]).toEqual([0, 31, 7]);
    expect(() => read("32")).toThrow("statuses must be a whole number from 0 to 31, in digits.");
  });

  test("that is a time ends with the year 9999, as timestamps do", () => {
    const read = (text: string) => unixSeconds("").read(textValue(text), "created_to");
    expect(read("253402300799")).toBe(253_402_300_799);
    expect(() => read("253402300800")).toThrow();
  });
});

describe("campaign ids", () => {
  const param = campaignIds("");
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index + 1));

  test("are digits with commas between them, or a JSON array", () => {
    expect(param.read(textValue("12,18"), "campaigns")).toEqual([12n, 18n]);
    expect(param.read({ kind: "list", items: ["12", "18"] }, "campaigns")).toEqual([12n, 18n]);
  });

  test("are none when empty", () => {
    expect(param.read(textValue(""), "campaigns")).toEqual([]);
    expect(param.read({ kind: "list", items: [] }, "campaigns")).toEqual([]);
  });

  test("are at most a thousand", () => {
    expect(param.read(textValue(numbers(1000).join(",")), "campaigns")).toHaveLength(1000);
    expect(() => param.read(textValue(numbers(1001).join(",")), "campaigns")).toThrow(
      "campaigns must hold at most 1000 ids.",
    );
  });

  test.each(["12,", ",12", "12,,18", "12, 18", "12;18", "a", "0", "-1", ","])("are refused as %p", (text) => {
    expect(() => param.read(textValue(text), "campaigns")).toThrow("every id in campaigns must be a whole number");
  });

  test("may be a number or an array in JSON", async () => {
    for (const written of ["12", "[12]", '["12"]', '"12"']) {
      const world = setup();
      await world.post("/api/broadcast/edit.json", `{"id":5,"campaigns":${written}}`, {
        "content-type": "application/json",
      });
      expect(world.calls[0]?.request).toMatchObject({ audience: { campaignIds: [12n] } });
    }
  });
});
