/**
 * Known vulnerabilities of the locked packages, as far as the registry tells them: not every mirror does, and then it is said
 * that nothing was checked. What is deployed may have none of severity high or critical; of tools, and below that, it is
 * only said how many there are.
 */
import type { CheckResult } from "./check.ts";
import type { Lock } from "./lock.ts";

/** Advisories that do not concern us, by their address, each with the reason. Reviewed like code. */
const ACCEPTED: Readonly<Record<string, string>> = {};

const TIMEOUT_MS = 30_000;
const SERIOUS = new Set(["high", "critical"]);

interface Advisory {
  title?: string;
  url?: string;
  severity?: string;
}

interface Vulnerable {
  severity: string;
  /** Where it is installed. */
  nodes: string[];
  /** Advisories, or names of packages through which it is concerned. */
  via: (Advisory | string)[];
}

/** What `npm audit --json` prints. */
export interface AuditReport {
  auditReportVersion?: number;
  message?: string;
  vulnerabilities?: Record<string, Vulnerable>;
}

/** Asks the registry that npm is set up for. */
export function checkVulnerabilities(root: string, lock: Lock, env: Record<string, string> = {}): CheckResult {
  const run = Bun.spawnSync(["npm", "audit", "--package-lock-only", "--json"], {
    cwd: root,
    // One attempt: who has no such registry shall not wait for it.
    env: { ...process.env, npm_config_fetch_retries: "0", npm_config_fetch_timeout: String(TIMEOUT_MS), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: TIMEOUT_MS,
  });
  return judgeReport(reportFrom(run.stdout.toString()), lock);
}

function reportFrom(text: string): AuditReport {
  try {
    return JSON.parse(text) as AuditReport;
  } catch {
    return { message: "npm audit gave no report" };
  }
}

export function judgeReport(
  { auditReportVersion, message, vulnerabilities = {} }: AuditReport,
  lock: Lock,
): CheckResult {
  if (auditReportVersion === undefined) {
    return {
      skipped: `not checked: ${(message ?? "npm audit gave no report").replace(/https?:\S+/g, "the registry")}`,
    };
  }
  const found = Object.entries(vulnerabilities).filter(([, { via }]) => openAdvisories(via).length > 0);
  const serious = found.filter(
    ([, { severity, nodes }]) => SERIOUS.has(severity) && nodes.some((node) => isDeployed(lock, node)),
  );
  if (serious.length === 0) return { passed: true, note: `${found.length} below what is refused` };
  return {
    passed: false,
    output: serious.flatMap(([name, { via }]) => openAdvisories(via).map((one) => `${name}: ${one}`)).join("\n"),
  };
}

/** A package that is concerned only through another one is told with that one. */
function openAdvisories(via: readonly (Advisory | string)[]): string[] {
  return via.flatMap((one) => {
    if (typeof one === "string" || (one.url !== undefined && one.url in ACCEPTED)) return [];
    return [`${one.severity ?? "unknown"}: ${one.title ?? ""} ${one.url ?? ""}`.trim()];
  });
}

function isDeployed(lock: Lock, node: string): boolean {
  return lock.packages[node]?.dev !== true;
}
