/** What is generated is what the specs say: regenerated in memory and compared. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
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
