import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { checkVulnerabilities, judgeReport } from "../../scripts/vulnerabilities.ts";

const root = join(import.meta.dirname, "../..");
const lock = { packages: { "node_modules/deployed": {}, "node_modules/tool": { dev: true } } };

function reportOf(severity: string, node: string) {
  const via = [{ title: "reads too far", url: "https://example.com/GHSA-1", severity }];
  return { auditReportVersion: 2, vulnerabilities: { one: { severity, nodes: [`node_modules/${node}`], via } } };
}

describe("the check of known vulnerabilities", () => {
  test("refuses what is serious in what is deployed, and counts the rest", () => {
    const refused = { passed: false, output: "one: high: reads too far https://example.com/GHSA-1" } as const;
    expect(judgeReport(reportOf("high", "deployed"), lock)).toEqual(refused);
    for (const [severity, node] of [
      ["moderate", "deployed"],
      ["critical", "tool"],
    ] as const) {
      expect(judgeReport(reportOf(severity, node), lock)).toEqual({ passed: true, note: "1 below what is refused" });
    }
    expect(judgeReport({ auditReportVersion: 2 }, lock)).toMatchObject({ passed: true });
  });

  test("is skipped, and says so, where the registry does not tell or is not there", () => {
    const registry = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(null, { status: 405 }) });
    const url = `http://127.0.0.1:${registry.port}/`;
    registry.stop(true);

    const result = checkVulnerabilities(root, lock, { npm_config_registry: url });

    expect(result).toMatchObject({ skipped: expect.stringMatching(/^not checked: /) });
    expect(JSON.stringify(result)).not.toContain("127.0.0.1");
    expect(judgeReport({ message: `405 - POST ${url}-/npm` }, lock)).toEqual({
      skipped: "not checked: 405 - POST the registry",
    });
    expect(judgeReport({}, lock)).toHaveProperty("skipped");
  });
});
