/** A process for lifecycle.test.ts: what it does is said by its first argument. */
import { Type } from "@sinclair/typebox";
import { readConfig } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { httpUrlVar, portVar } from "#services/platform/variables.ts";

const behaviour = process.argv[2];
const log = createLogger({ service: "sample" });

await runProcess({
  service: "sample",
  log,
  start: async (context) => {
    const schema = Type.Object({ ACCOUNT_PORT: portVar(7001), ACCOUNT_URL: httpUrlVar("http://localhost:7001") });
    const config = readConfig(schema);
    const keepAlive = setInterval(() => undefined, 1_000);
    context.onStop("first", () => clearInterval(keepAlive));
    if (behaviour === "hangs") context.onStop("hanging", () => new Promise(() => undefined));
    if (behaviour === "late") context.onStop("late", () => new Promise(() => undefined), { deadlineMs: 20 });
    context.onStop("second", () => log.info("second was stopped first"));
    if (behaviour === "fails") throw new Error("no luck with 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
    context.announce({ port: config.ACCOUNT_PORT });
    if (behaviour === "rejects") setTimeout(() => void Promise.reject(new Error("nobody waits for this")), 1);
    if (behaviour === "throws") setTimeout(() => JSON.parse("{"), 1);
  },
});
