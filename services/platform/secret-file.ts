import { readFileSync, statSync } from "node:fs";

/** The longest secret is a list of service tokens; a larger file is another file. */
const maxBytes = 64 * 1024;

/**
 * Reads a secret from its file. One line end after it does not belong to it: editors and `echo` write one.
 *
 * @returns the text, or the end of a sentence that says what is wrong with the file.
 */
export function readSecretFile(path: string): { value: string } | { wrong: string } {
  const bytes = readSmallFile(path, maxBytes);
  if ("wrong" in bytes) return bytes;
  const text = bytes.value.replace(/^\uFEFF/, "").replace(/\r?\n$/, "");
  if (text.trim() === "") return { wrong: "is empty" };
  if (text.includes("\0") || text.includes("\uFFFD")) return { wrong: "is not text" };
  return { value: text };
}

/** As text. Reads only plain files, and no more than `limit` bytes: a device or a pipe would never end. */
export function readSmallFile(path: string, limit: number): { value: string } | { wrong: string } {
  try {
    const { size, isFile } = describe(path);
    if (!isFile) return { wrong: "is no plain file" };
    if (size > limit) return { wrong: `is larger than ${limit / 1024} KiB` };
    return { value: readFileSync(path, "utf8") };
  } catch (error) {
    return { wrong: whyUnreadable(error) };
  }
}

function describe(path: string): { size: number; isFile: boolean } {
  const stats = statSync(path);
  return { size: stats.size, isFile: stats.isFile() };
}

function whyUnreadable(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return "is not there";
  if (code === "EACCES" || code === "EPERM") return "this process may not read";
  return `cannot be read (${code ?? "for an unknown reason"})`;
}
