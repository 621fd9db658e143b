/** What one look at the repository found. */
export type CheckResult = { passed: true; note?: string } | { passed: false; output: string } | { skipped: string };

export interface Check {
  name: string;
  run(): CheckResult;
}
