import { describe, expect, test } from "bun:test";
import { formOfUrl, originForm, pathOf } from "#services/platform/transport/target.ts";

describe("originForm", () => {
  test.each([
    ["/", "/"],
    ["/a/b?c=d", "/a/b?c=d"],
    ["//", "//"],
    ["//x/y", "//x/y"],
    ["/a?b=../c", "/a?b=../c"],
    ["/%zz", "/%zz"],
    ["/a..b/...", "/a..b/..."],
    ["/\u00d0\u009f", "/%D0%9F"],
    ["/\u041f", "/%D0%9F"],
    ["/\ud800", "/%EF%BF%BD"],
    ["http://h", "/"],
    ["http://h?q", "/?q"],
    ["HTTP://[::1]:80/p?q", "/p?q"],
    ["https://u:p@h/p", "/p"],
    ["http:///p", "/p"],
  ])("reads %j", (target, form) => {
    expect(originForm(target)).toBe(form);
  });

  test.each([
    ...["", "*", "a", "[", "ftp://h/p", "h:443", "?q"],
    ...["/ ", "/\t", "/\0", "/\r\n", "/a\u007f", "/a#b", "/a\\b"],
    ...["/.", "/..", "/a/./b", "/a/../metrics", "/%2e%2E/x", "/.%2e", "http://h/../x", "http://h\\x"],
  ])("refuses %j, which has no path or more than one", (target) => {
    expect(originForm(target)).toBeUndefined();
  });

  test("gives what a URL parser leaves as it is", () => {
    for (const form of ["//", "//x/y", "/a/b?c=d", "/%zz?%", "/%D0%9F"]) {
      expect(formOfUrl(new URL(`http://x${form}`).href)).toBe(form);
    }
    expect(pathOf("/a/b?c=/d?e")).toBe("/a/b");
  });
});
