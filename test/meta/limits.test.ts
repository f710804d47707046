// SPDX-License-Identifier: Apache-2.0
/** docs/limits.md is what `npm run limits` wrote from today's lists of probes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { families } from "../probes/families.js";
import { unseen } from "../probes/unseen.js";
import { limitsPage } from "../probes/page.js";
import { projectRoot } from "../support/project.js";

test("docs/limits.md has every probe, and no other: npm run limits writes it", () => {
  const page = readFileSync(join(projectRoot, "docs/limits.md"), "utf8");
  const untried = families.flatMap(({ probes }) => probes).filter(({ state }) => page.includes(`| ${state} |`) && isUntried(page, state));
  assert.equal(page, limitsPage(families, new Set(untried.map(({ state }) => state))));
});

function isUntried(page: string, state: string): boolean {
  const line = page.split("\n").find((one) => one.startsWith(`| ${state} |`));
  return line?.includes("(not tried: ") === true;
}

test("at most twelve states cannot be kept", () => {
  const lost = families.flatMap(({ probes }) => probes).filter(({ is }) => is !== "kept" && "cannot" in is);
  assert.ok(lost.length + unseen.length <= 12, lost.map(({ state }) => state).join("; "));
});

test("no two probes have one name or one title", () => {
  for (const { program, probes } of families) {
    assert.equal(new Set(probes.map(({ name }) => name)).size, probes.length, program);
  }
  const titles = families.flatMap(({ probes }) => probes.map(({ state }) => state));
  assert.equal(new Set(titles).size, titles.length);
});
