// SPDX-License-Identifier: Apache-2.0
/** What is generated is what the specs say: regenerated in memory and compared. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { tableSpecs } from "../../src/gen/tables.js";
import { generate } from "../../tools/gen/generate.js";
import { projectRoot } from "../support/project.js";

const advice = "run: npm run generate";

test("generated files are fresh", () => {
  const stale: string[] = [];
  for (const [path, wanted] of generate(projectRoot)) {
    const file = join(projectRoot, path);
    const found = existsSync(file) ? readFileSync(file, "utf8") : "";
    if (found !== wanted) stale.push(`${path}\n${difference(found, wanted)}`);
  }
  assert.equal(stale.length, 0, `stale; ${advice}\n${stale.join("\n")}`);
});

test("nothing else is in the folders of generated files", () => {
  const files = generate(projectRoot);
  for (const folder of ["src/gen", "native/gen", "test/support/gen"]) {
    for (const name of readdirSync(join(projectRoot, folder))) {
      assert.ok(files.has(`${folder}/${name}`), `${folder}/${name} is not generated (any more): delete it`);
    }
  }
});

/** The first lines that differ. */
function difference(found: string, wanted: string): string {
  const [before, after] = [found.split("\n"), wanted.split("\n")];
  const first = after.findIndex((line, index) => line !== before[index]);
  const at = first < 0 ? after.length : first;
  const excerpt = (lines: readonly string[], sign: string) => lines.slice(at, at + 5).map((line) => `  ${sign}${line}`);
  return [`  line ${at + 1}`, ...excerpt(before, "-"), ...excerpt(after, "+")].join("\n");
}

test("SPEC.md has a section and a field table for every table, numbered by its kind", () => {
  const document = readFileSync(join(projectRoot, "spec/SPEC.md"), "utf8");
  for (const { kind, tableId } of tableSpecs) {
    assert.ok(document.includes(`\n### 5.${kind} ${tableId}\n`), `SPEC.md lacks the section "5.${kind} ${tableId}"`);
    assert.ok(
      document.includes(`<!-- generated: table ${tableId} -->`),
      `SPEC.md lacks <!-- generated: table ${tableId} --> in section 5.${kind}`,
    );
  }
});

test("every section that is cited exists", () => {
  const sections = new Set(
    [...readFileSync(join(projectRoot, "spec/SPEC.md"), "utf8").matchAll(/^#+ (\d+(?:\.\d+)?)\.? /gm)].map(([, number]) => number),
  );
  for (const folder of ["src", "formats", "docs"]) {
    for (const name of readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" })) {
      if (!/\.(ts|md)$/.test(name)) continue;
      for (const [cited, number] of readFileSync(join(projectRoot, folder, name), "utf8").matchAll(/\bSPEC (\d+(?:\.\d+)?)\b/g)) {
        assert.ok(sections.has(number), `${folder}/${name} cites ${cited}, which SPEC.md does not have`);
      }
    }
  }
});
