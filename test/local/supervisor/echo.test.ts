import { describe, expect, test } from "bun:test";
import { createEcho } from "#services/local/supervisor/echo.ts";

function setup() {
  const said: string[] = [];
  const time = { now: 0 };
  return {
    said,
    time,
    echo: createEcho(
      "campaign",
      (line) => said.push(line),
      () => time.now,
    ),
  };
}

function logLine(level: string, msg: string, err?: string): string {
  return `${JSON.stringify({ level, service: "campaign", ...(err === undefined ? {} : { err: { message: err } }), msg })}\n`;
}

describe("createEcho", () => {
  test("shows errors in one line each, and nothing below them", () => {
    const { echo, said } = setup();
    echo.takeOutput(logLine("info", "ready") + logLine("error", "a part failed", "no route\nto host"));
    expect(said).toEqual(["campaign: error: a part failed (no route"]);
  });

  test("joins a line that arrives in pieces", () => {
    const { echo, said } = setup();
    const line = logLine("fatal", "the start failed");
    echo.takeOutput(line.slice(0, 20));
    echo.takeOutput(line.slice(20));
    expect(said).toEqual(["campaign: fatal: the start failed"]);
  });

  test("shows at most five in ten seconds, and says that there were more", () => {
    const { echo, said, time } = setup();
    for (let count = 0; count < 100; count++) echo.takeOutput(logLine("error", `failure ${count}`));
    expect(said).toHaveLength(6);
    expect(said[5]).toBe("campaign: more errors, see its log");
    time.now = 10_001;
    echo.takeOutput(logLine("error", "later"));
    expect(said[6]).toBe("campaign: error: later");
  });

  test("keeps a crash's message, not its stack or source", () => {
    const { echo } = setup();
    echo.takeErrors(
      "12 | throw x\n     ^\nTypeError: x is not a function\n    at main (main.ts:12)\n\nBun v1.4.5 (Linux)\n",
    );
    expect(echo.lastWords()).toBe("TypeError: x is not a function");
  });
});
