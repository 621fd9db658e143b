import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { createSecretBox, SecretError } from "#services/platform/secrets.ts";

const oldKey = { id: "2025", key: randomBytes(32) };
const newKey = { id: "2026", key: randomBytes(32) };

describe("createSecretBox", () => {
  test("opens what it sealed, whatever the text and context", () => {
    const box = createSecretBox([newKey]);
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (plain, context) => {
        const text = plain.toWellFormed();
        const sealed = box.encrypt(text, context.toWellFormed());
        expect(sealed).toMatch(/^v1:2026:[A-Za-z0-9+/]+=*$/);
        expect(box.decrypt(sealed, context.toWellFormed())).toBe(text);
      }),
    );
  });

  test("never seals the same text the same way twice", () => {
    const box = createSecretBox([newKey]);
    expect(box.encrypt("token", "bot/1")).not.toBe(box.encrypt("token", "bot/1"));
  });

  test("refuses another context", () => {
    const box = createSecretBox([newKey]);
    const sealed = box.encrypt("token", "bot/1");
    expect(() => box.decrypt(sealed, "bot/2")).toThrow(SecretError);
  });

  test("refuses a value in which any byte was changed", () => {
    const box = createSecretBox([newKey]);
    const [version, id, body] = box.encrypt("token", "bot/1").split(":");
    const bytes = Buffer.from(body!, "base64");
    for (let index = 0; index < bytes.length; index++) {
      const changed = Buffer.from(bytes);
      changed[index]! ^= 1;
      expect(() => box.decrypt(`${version}:${id}:${changed.toString("base64")}`, "bot/1")).toThrow(SecretError);
    }
  });

  test("encrypts with the first key and still opens what an older one sealed", () => {
    const sealed = createSecretBox([oldKey]).encrypt("token", "bot/1");
    const rotated = createSecretBox([newKey, oldKey]);
    expect(rotated.decrypt(sealed, "bot/1")).toBe("token");
    expect(rotated.encrypt("token", "bot/1")).toStartWith("v1:2026:");
  });

  test("names the key that is missing, and nothing of the content", () => {
    const sealed = createSecretBox([oldKey]).encrypt("token", "bot/1");
    const box = createSecretBox([newKey]);
    expect(() => box.decrypt(sealed, "bot/1")).toThrow('SECRET_KEYS has no key with the id "2025".');
  });

  test.each(["", "plain", "v2:2026:AAAA", "v1:2026:AAAA", "v1:2026:AAAA:x"])("refuses the form %p", (sealed) => {
    expect(() => createSecretBox([newKey]).decrypt(sealed, "bot/1")).toThrow(SecretError);
  });

  test("cannot be made without a key", () => {
    expect(() => createSecretBox([])).toThrow(SecretError);
  });
});
