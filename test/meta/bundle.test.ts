// SPDX-License-Identifier: Apache-2.0
/** The command starts from the bundle that the build makes, with functions that are compiled already. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test from "node:test";
import { projectRoot } from "../support/project.js";

for (const command of ["dump", "convert", "validate", "explain", "other"]) {
  test(`the code cache of ${command} fits this node and this bundle`, () => {
    const bundle = JSON.stringify(join(projectRoot, "bin/bundle.cjs"));
    const script = `process.stdout.write(String(require(${bundle}).loadBundle(${JSON.stringify(command)}).isCached))`;
    const { stdout, stderr } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 30_000 });
    assert.equal(stdout, "true", stderr);
  });
}

test("a command that cannot come to its end is no success", () => {
  const bundle = JSON.stringify(join(projectRoot, "bin/bundle.cjs"));
  const script = `require(${bundle}).loadBundle("other").endWith(new Promise(() => {}))`;
  const { status, stderr } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 30_000 });
  assert.equal(status, 2);
  assert.match(stderr, /^crimg: bug in crimg: .*\n$/);
});
