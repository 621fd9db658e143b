import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { ConfigError, readConfig } from "#services/platform/config.ts";
import { hostVar, httpUrlVar } from "#services/platform/variables.ts";

function read(schema: ReturnType<typeof hostVar>, text: string): string {
  try {
    return readConfig(Type.Object({ VALUE: schema }), { VALUE: text }).VALUE;
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.join("\n");
    throw error;
  }
}

describe("hostVar", () => {
  test.each([
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "0.0.0.0"],
    ["::", "::"],
    ["::1", "::1"],
    ["[::1]", "::1"],
    ["[2001:db8::5]", "2001:db8::5"],
    ["localhost", "localhost"],
    [" db-1.internal ", "db-1.internal"],
  ])("takes %p", (text, host) => expect(read(hostVar(), text)).toBe(host));

  test.each([
    "256.1.1.1",
    "1.2.3",
    "http://localhost",
    "localhost:80",
    "[::1]:80",
    "127.0.0.1:80",
    "-x",
    "a b",
    "*",
    "a/b",
  ])("refuses %p", (text) =>
    expect(read(hostVar(), text)).toStartWith("VALUE: the value is neither an address nor a name"),
  );
});

describe("httpUrlVar", () => {
  test.each([
    ["http://localhost:7001", "http://localhost:7001"],
    ["http://localhost:7001/", "http://localhost:7001"],
    ["https://api.telegram.org///", "https://api.telegram.org"],
    ["https://proxy.example/telegram/", "https://proxy.example/telegram"],
    ["HTTP://LocalHost:80/", "http://localhost"],
    [" http://[::1]:7001/ ", "http://[::1]:7001"],
  ])("makes of %p what a path fits behind", (text, url) => expect(read(httpUrlVar(), text)).toBe(url));

  test.each([
    ["nowhere", "is not a URL"],
    ["ftp://x", "another scheme"],
    ["http:/x", "no host after //"],
    ["http:///x", "no host after //"],
    ["https://user:hunter2@x", "user or password"],
    ["https://x/?a=b", "? or #"],
    ["https://x/#", "? or #"],
    ["http://x:0", "port 0"],
    ["http://x:99999", "is not a URL"],
  ])("refuses %p", (text, why) => {
    const problem = read(httpUrlVar(), text);
    expect(problem).toContain(why);
    expect(problem).not.toContain("hunter2");
  });
});
