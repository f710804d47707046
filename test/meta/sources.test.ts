// SPDX-License-Identifier: Apache-2.0
/** What every source file has: a licence line, and lines that fit on a screen. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import test from "node:test";
import { projectRoot } from "../support/project.js";

const generated = /(^|\/)gen\//;
const longest = 140;
const license = "SPDX-License-Identifier: Apache-2.0";
const sourceName = /\.(ts|mjs|cjs|c|h|ld|inc|ksy|proto|py|sh|java|yaml)$|^Makefile$|^crimg(-exec)?$|^run$/;
/** Foreign or built. */
const leftOut = /^(node_modules|dist|build|\.git|test\/fixtures)$/;

function* sources(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const name = relative(projectRoot, path);
    if (leftOut.test(name)) continue;
    if (entry.isDirectory()) yield* sources(path);
    else if (entry.isFile() && sourceName.test(entry.name)) yield name;
  }
}

const names = [...sources(projectRoot)];

test("the sources are looked at", () => {
  for (const name of ["bin/crimg", "src/index.ts", "native/interp/interp.c", "spec/ksy/elf64.ksy", ".ci/run", "src/gen/tables.ts"])
    assert.ok(names.includes(name), name);
});

test("every source names its licence in its first lines", () => {
  const bare = names.filter((name) => !readFileSync(join(projectRoot, name), "utf8").split("\n", 2).join("\n").includes(license));
  assert.deepEqual(bare, [], `begin with a comment "${license}" (behind a #! line)`);
});

test(`no line that a person wrote is longer than ${longest} columns`, () => {
  const long: string[] = [];
  for (const name of names) {
    if (generated.test(name) && !name.startsWith("tools/gen/")) continue;
    for (const [index, line] of readFileSync(join(projectRoot, name), "utf8").split("\n").entries())
      if (line.length > longest) long.push(`${name}:${index + 1}: ${line.length} columns`);
  }
  assert.deepEqual(long, []);
});
