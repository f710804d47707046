// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run coverage -- RUNNER SUITE [TESTS…]`: runs CRIU's own tests (ZDTM) under crimg and writes docs/coverage.md.
 *
 * RUNNER is a program with the interface of run-zdtm (--suite, --engine, --engine-bin, --tests, --jobs, --json),
 * SUITE the test/zdtm folder of a built CRIU checkout, TESTS files or names.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

interface TestResult {
  readonly name: string;
  readonly status: "PASS" | "FAIL" | "SKIP";
  readonly phase: string | null;
  readonly detail: string;
}

interface RunResult {
  readonly kernel: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly tests: readonly TestResult[];
}

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The page, from the runner's results. */
export function coveragePage(result: RunResult): string {
  const of = (status: TestResult["status"]): TestResult[] => result.tests.filter((test) => test.status === status);
  const short = (name: string): string => name.replace(/^zdtm\/static\//, "").replace(/^zdtm\/transition\//, "t/");
  const refused = of("PASS").filter((test) => /refused/.test(test.detail));
  const resumed = of("PASS").filter((test) => !refused.includes(test));
  const reason = (test: TestResult): string =>
    test.detail
      .replace(/\|/g, "/")
      .replace(/\b\d{2,}\b/g, "N")
      .replace(/\/tmp\/\S+/g, "…")
      .slice(0, 140);
  return [
    "# What of CRIU's test suite passes",
    "",
    "<!-- Written by `npm run coverage`; do not edit. -->",
    "",
    `ZDTM of CRIU 4.2, host flavour, Linux ${result.kernel}: ${resumed.length} dumped and resumed,`,
    `${refused.length} refused as CRIU refuses them, ${result.failed} not passed, ${result.skipped} skipped.`,
    "A name without prefix is zdtm/static/NAME; t/NAME is zdtm/transition/NAME.",
    "",
    `## Dumped, killed, resumed, and found unchanged (${resumed.length})`,
    "",
    `${resumed.map((test) => short(test.name)).join(", ")}.`,
    "",
    `## Refused by name, as CRIU does, and unharmed (${refused.length})`,
    "",
    `${refused.map((test) => short(test.name)).join(", ")}.`,
    "",
    `## Not passed (${result.failed})`,
    "",
    "| test | at | why |",
    "|---|---|---|",
    ...of("FAIL").map((test) => `| ${short(test.name)} | ${test.phase ?? ""} | ${reason(test)} |`),
    "",
  ].join("\n");
}

function main([runner, suite, ...tests]: string[]): number {
  if (!runner || !suite) {
    console.error("usage: npm run coverage -- RUNNER SUITE [TESTS…]");
    return 2;
  }
  const directory = mkdtempSync(join(tmpdir(), "crimg-coverage-"));
  try {
    const json = join(directory, "result.json");
    const args = ["--suite", suite, "--engine", "crimg", "--engine-bin", join(root, "bin/crimg"), "--json", json];
    spawnSync(runner, [...args, ...(tests.length ? ["--tests", ...tests] : [])], { stdio: "inherit" });
    const result = JSON.parse(readFileSync(json, "utf8")) as RunResult;
    writeFileSync(join(root, "docs/coverage.md"), coveragePage(result));
    console.log("wrote docs/coverage.md");
    return 0;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

process.exitCode = main(process.argv.slice(2));
