// SPDX-License-Identifier: Apache-2.0
/** The command starts from the bundle that the build makes, with functions that are compiled already. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { projectRoot } from "../support/project.js";

const commandLines = ["dump", "dump --to criu", "show", "run", "convert", "validate", "explain", "other"];

for (const line of commandLines) {
  test(`the code cache of ${line} fits this node and this bundle`, () => {
    const bundle = JSON.stringify(join(projectRoot, "bin/bundle.cjs"));
    const words = line.split(" ");
    const load = `loadBundle(${JSON.stringify(words[0])}, ${JSON.stringify(words)})`;
    const script = `process.stdout.write(String(require(${bundle}).${load}.isCached))`;
    const { stdout, stderr } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 30_000 });
    assert.equal(stdout, "true", stderr);
  });
}

test("the code cache of dump holds what a dump runs", () => {
  const sizeOf = (name: string): number => statSync(join(projectRoot, "dist/bundle/cli", name)).size;
  // It is not so if the dumps of the build have failed.
  for (const name of ["dump.cache", "dump.own.cache"])
    assert.ok(sizeOf(name) > 1.8 * sizeOf("other.cache"), `${name}: ${sizeOf(name)} bytes`);
});

test("what the bundle of dump alone does not know is done by that of all commands", () => {
  const crimg = (...words: string[]) => spawnSync(join(projectRoot, "bin/crimg"), words, { encoding: "utf8", timeout: 30_000 });
  const help = crimg("dump", "--help");
  assert.equal(help.status, 0, help.stderr);
  assert.match(help.stdout, /--leave-running/);
  const wrong = crimg("dump", "1", "--no-such-option");
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /no-such-option/);
  const sleeper = spawn("sleep", ["20"], { stdio: "ignore" });
  try {
    const unknown = crimg("dump", String(sleeper.pid), "--to", "no-such-format", "-o", join(tmpdir(), "crimg-never-made"));
    assert.match(unknown.stderr, /no-such-format/);
    assert.notEqual(unknown.status, 0);
    const never = crimg("dump", String(sleeper.pid), "--to=no-such-format", "-o", join(tmpdir(), "crimg-never-made"));
    assert.match(never.stderr, /no-such-format/);
  } finally {
    sleeper.kill();
  }
});

test("a command that cannot come to its end is no success", () => {
  const bundle = JSON.stringify(join(projectRoot, "bin/bundle.cjs"));
  const script = `require(${bundle}).loadBundle("other").endWith(new Promise(() => {}))`;
  const { status, stderr } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 30_000 });
  assert.equal(status, 2);
  assert.match(stderr, /^crimg: bug in crimg: .*\n$/);
});
