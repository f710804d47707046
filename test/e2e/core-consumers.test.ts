// SPDX-License-Identifier: Apache-2.0
/** Debuggers and other tools see in a core of crimg what they see in a gcore of the same process (docs/cores.md has them all). */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { consumers } from "../../tools/cores/consumers.js";
import { compile, crimg, run, start, temporaryDirectory, until } from "../support/processes.js";

test("what is installed sees the same in crimg's core and in gcore's", { timeout: 300_000 }, async (t) => {
  if (run("sh", ["-c", "command -v cc gcore"]).status !== 0) return t.skip("no cc or gcore");
  const directory = temporaryDirectory(t);
  const program = compile("crash-threads.c", directory, "-g", "-O0", "-pthread");
  const child = start(t, program, ["wait"], { cwd: directory });
  // All four threads in pause(2).
  await until(
    "the threads wait",
    () => run("grep", ["-c", "^34 ", "-r", `/proc/${child.pid}/task`, "--include=syscall"]).stdout.split(":1").length > 4,
  );
  const mine = join(directory, `crimg.${child.pid}`);
  const dumped = crimg("dump", String(child.pid), "--to", "core", "-o", mine, "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  run("gcore", ["-o", join(directory, "gcore"), String(child.pid)], { seconds: 120 });
  const other = join(directory, `gcore.${child.pid}`);
  assert.ok(existsSync(other));
  const asked = consumers.filter((one) => one.program === "c" && one.path !== undefined);
  assert.ok(asked.length > 0);
  for (const { name, about, ask } of asked) {
    const [found, expected] = [ask(mine, program), ask(other, program)];
    assert.ok(expected.length > 0, `${name} says nothing`);
    // file tells the arguments, the ids and the program of crimg's core, and only the program of gcore's.
    if (name === "file") assert.match(found, /core file.*x86-64.*execfn: '.*crash-threads'/);
    else assert.equal(found, expected, `${name}: ${about}`);
  }
});
