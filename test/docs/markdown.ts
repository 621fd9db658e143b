/** Reads our Markdown files, so that what they say can be tried. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

export function readDocument(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

export interface CodeBlock {
  language: string;
  text: string;
}

/** Fenced blocks, in order. */
export function codeBlocks(markdown: string): CodeBlock[] {
  return [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({
    language: language!,
    text: text!,
  }));
}

export interface CurlExample {
  script: string;
  /** One reply a line, as the document shows them. */
  replies: string[];
}

/** Shell blocks with a call of curl, each with the replies in the JSON block behind it. */
export function curlExamples(markdown: string): CurlExample[] {
  const blocks = codeBlocks(markdown);
  return blocks.flatMap(({ language, text }, i) => {
    if (language !== "sh" || !/^(curl|op|account|campaign) /m.test(text)) return [];
    const next = blocks[i + 1];
    if (next?.language !== "json") throw new Error(`No replies are shown for:\n${text}`);
    return [{ script: text, replies: next.text.trim().split("\n") }];
  });
}

/** The cells of a table's rows below a header, without backticks; a table whose first header cell has that text. */
export function tableRows(markdown: string, firstHeader: string): string[][] {
  const lines = markdown.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${firstHeader} |`));
  if (start < 0) throw new Error(`There is no table with the header ${firstHeader}.`);
  const length = lines.slice(start).findIndex((line) => !line.startsWith("|"));
  return lines.slice(start + 2, start + length).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
}

/** Targets of links, without those of the internet. */
export function localLinks(markdown: string): string[] {
  return [...markdown.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!).filter((link) => !/^https?:/.test(link));
}
