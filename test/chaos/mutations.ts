// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the edits quote source text that holds template strings.
/**
 * Breaks one guard at a time in a copy of the tree: if no test notices, the guard might as well not be there.
 */
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { startPostgres } from "#services/local/embedded/postgres.ts";
import { temporaryFolder } from "../support/folder.ts";
import { throwAwaySettings } from "../support/postgres.ts";

export interface Mutation {
  name: string;
  edits: { file: string; search: string; replace: string }[];
  /** Where a test should notice. */
  tests: string[];
}

const LEDGER = ["test/core/ledger"];

export const MUTATIONS: Mutation[] = [
  {
    name: "a claim takes rows that are not queued",
    edits: [
      {
        file: "services/core/ledger/predicates.ts",
        search: "sql`s.state = ${literal(sql, SendState.queued)}`",
        replace: "sql`s.state >= ${literal(sql, SendState.queued)}`",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "a claim takes rows of a closed run",
    edits: [
      {
        file: "services/core/ledger/predicates.ts",
        search: 's.run = ${of("run")} AND ',
        replace: "",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "a claim does not ask for the lease",
    edits: [
      {
        file: "services/core/ledger/claim.ts",
        search: "if (!gates.shards.has(shardOf(job.botId))) return",
        replace: "if (gates.shards.has(-1)) return",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "a lease that has expired counts as held",
    edits: [
      {
        file: "services/core/ledger/store.ts",
        search: "WHERE l.role = ${role} AND l.expires_at > clock_timestamp()",
        replace: "WHERE l.role = ${role}",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "a lease of an older fence counts as held",
    edits: [
      {
        file: "services/core/ledger/store.ts",
        search: "ON l.shard = k.shard AND l.fence = k.fence",
        replace: "ON l.shard = k.shard",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "claims pass a broadcast's gate while it is shut",
    edits: [
      {
        file: "services/core/ledger/gate.ts",
        search: "rows.filter((row) => row.passed)",
        replace: "rows.filter(() => true)",
      },
    ],
    tests: [...LEDGER, "test/broadcast"],
  },
  {
    name: "the life cycle does not shut the gate",
    edits: [
      {
        file: "services/core/ledger/gate.ts",
        search: "await tx`SELECT pg_advisory_xact_lock(${GATE_LOCKS + sourceId})`;",
        replace: "await tx`SELECT ${GATE_LOCKS + sourceId}::bigint`;",
      },
    ],
    tests: [...LEDGER, "test/broadcast"],
  },
  {
    name: "the cap is not looked at",
    edits: [{ file: "services/core/ledger/claim.ts", search: "return cap === 0 ?", replace: "return cap >= 0 ?" }],
    tests: LEDGER,
  },
  {
    name: "the day's quota is read without holding it",
    edits: [
      {
        file: "services/core/ledger/store.ts",
        search: "ORDER BY account_id FOR UPDATE`",
        replace: "ORDER BY account_id`",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "settle does not ask whose claim it was",
    edits: [{ file: "services/core/ledger/store.ts", search: " AND s.claim_token = k.token", replace: "" }],
    tests: LEDGER,
  },
  {
    name: "a top-up takes leads that were sent to",
    edits: [
      {
        file: "services/core/ledger/enqueue.ts",
        search: `p.lead_id = a.id AND p.entry = 0
        AND p.state IN (\${SendState.sending}, \${SendState.sent}, \${SendState.unconfirmed}))`,
        replace: "p.lead_id = a.id AND p.entry = 0 AND p.state = 99)",
      },
      {
        file: "services/core/ledger/enqueue.ts",
        search: "WHERE s.state IN (${SendState.queued}, ${SendState.failed}, ${SendState.dropped})",
        replace: "WHERE true",
      },
    ],
    tests: ["test/broadcast"],
  },
  {
    name: "a replica takes shards that another one holds",
    edits: [
      {
        file: "services/core/shards/leases.ts",
        search: "AND (owner IS NULL OR expires_at < clock_timestamp())",
        replace: "AND true",
      },
    ],
    tests: ["test/core/shards", ...LEDGER],
  },
  {
    name: "a replica believes in its lease for ever",
    edits: [
      {
        file: "services/core/shards/leases.ts",
        search: "return held !== undefined && held.deadlineMs > this.#options.clock.monotonicMs() + forMs;",
        replace: "return held !== undefined;",
      },
    ],
    tests: ["test/core/shards", "test/delivery"],
  },
  {
    name: "a claim whose owner is gone goes back to the queue",
    edits: [
      {
        file: "services/core/ledger/rescue.ts",
        search: "UPDATE send s SET state = ${SendState.unconfirmed}, reason = ${SendReason.ownerGone}",
        replace: "UPDATE send s SET state = ${SendState.queued}, reason = ${SendReason.ownerGone}",
      },
    ],
    tests: LEDGER,
  },
  {
    name: "an accepted send does not end a streak of refusals",
    edits: [
      {
        file: "services/core/ledger/fault-streak.ts",
        search: "if (refused.length === 0) await this.#end(tx, botId);",
        replace: "if (refused.length === 0) continue;",
      },
    ],
    tests: ["test/core/ledger/fault-streak.test.ts"],
  },
  {
    name: "a lead that was taken back counts towards its bot's fault again",
    edits: [
      {
        file: "services/core/ledger/fault-streak-store.ts",
        search: "THEN ${RefusalState.again}::smallint",
        replace: "THEN ${RefusalState.fresh}::smallint",
      },
    ],
    tests: ["test/core/ledger/fault-streak.test.ts"],
  },
  {
    name: "leads are taken back into a run that is closed",
    edits: [
      {
        file: "services/core/ledger/fault-streak-store.ts",
        search: "AND (s.kind = ${SendKind.followUp} OR s.run = o.run)",
        replace: "",
      },
    ],
    tests: ["test/core/ledger/fault-streak.test.ts"],
  },
  {
    name: "a 4xx of anybody's blames lead, body or token",
    edits: [
      {
        file: "services/delivery/reply.ts",
        search: "if (json?.ok === false) return",
        replace: "if (json?.ok !== true && answer.status >= 400 && json) return",
      },
    ],
    tests: ["test/delivery/reply.test.ts"],
  },
];

const CHAOS = "test/chaos";
const root = join(import.meta.dirname, "..", "..");
const LEFT_OUT = new Set(["node_modules", ".git", ".data", ".cache", "docs", "dashboard"]);

/** @returns whether a test noticed each of them. */
export async function runMutations(options: { say: (line: string) => void; only?: string }): Promise<boolean> {
  const folder = temporaryFolder("mutations");
  const postgres = await startPostgres({
    dataDir: join(folder, "data"),
    logPath: join(folder, "postgres.log"),
    settings: throwAwaySettings,
  });
  try {
    const wanted = MUTATIONS.filter(({ name }) => name.includes(options.only ?? ""));
    const survivors: string[] = [];
    const unbroken = await runMutation(
      { name: "", edits: [], tests: [...new Set(wanted.flatMap(({ tests }) => tests))] },
      postgres.url,
    );
    if (unbroken !== undefined) throw new Error(`${unbroken} fails with every guard in place: that shows nothing.`);
    for (const mutation of wanted) {
      const noticedBy = await runMutation(mutation, postgres.url);
      options.say(
        `${noticedBy === undefined ? "SURVIVED" : "killed  "}  ${mutation.name}${noticedBy ? ` (${noticedBy})` : ""}`,
      );
      if (noticedBy === undefined) survivors.push(mutation.name);
    }
    options.say(`${wanted.length} guards broken, ${wanted.length - survivors.length} noticed`);
    return survivors.length === 0;
  } finally {
    await postgres.stop();
  }
}

/** @returns the tests that failed; undefined if all passed. */
async function runMutation(mutation: Mutation, databaseUrl: string): Promise<string | undefined> {
  const copy = copyTree();
  try {
    for (const { file, search, replace } of mutation.edits) edit(join(copy, file), search, replace);
    for (const tests of [...mutation.tests, CHAOS]) {
      if (!(await passes(copy, tests, databaseUrl))) return tests;
    }
    return undefined;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function copyTree(): string {
  const copy = temporaryFolder("mutant");
  cpSync(root, copy, {
    recursive: true,
    filter: (path) => !LEFT_OUT.has(relative(root, path).split(sep)[0]!),
  });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** @throws where the guard is not there any more: then this list must follow it. */
export function edit(path: string, search: string, replace: string): void {
  const text = readFileSync(path, "utf8");
  if (text.split(search).length !== 2) throw new Error(`${relative(root, path)} does not hold once: ${search}`);
  writeFileSync(
    path,
    text.replace(search, () => replace),
  );
}

async function passes(copy: string, tests: string, databaseUrl: string): Promise<boolean> {
  const run = Bun.spawn([process.execPath, "test", "--bail", "--timeout=180000", tests], {
    cwd: copy,
    env: { ...process.env, TEST_DATABASE_ADMIN_URL: databaseUrl, LEADCAST_DATA: join(root, ".data") },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  return (await run.exited) === 0;
}
