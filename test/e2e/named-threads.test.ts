// SPDX-License-Identifier: Apache-2.0
/** Many threads that differ in little: each has its own again, whatever way they are made and leave by. */
import assert from "node:assert/strict";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { spawn } from "node:child_process";
import test, { type TestContext } from "node:test";
import { assertUnbroken, dumpAndResume, moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, start, temporaryDirectory, until } from "../support/processes.js";

const count = 120;

async function started(t: TestContext): Promise<{ readonly pid: number; readonly log: string; readonly image: string }> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const out = openSync(log, "a");
  const program = compile("named-threads.c", directory, "-pthread");
  const { pid } = start(t, program, [String(count)], { cwd: directory, stdio: ["ignore", out, out] });
  await moreTicks(log, 1);
  return { pid, log, image: join(directory, "image.elf") };
}

test("names, masks and alternate stacks of threads, twice, and their ops are there once", { timeout: 120_000 }, async (t) => {
  const { pid, log, image } = await started(t);
  const resumed = await dumpAndResume(t, pid, image);
  await moreTicks(log, 2);
  const { stdout } = crimg("explain", image);
  const names = [...stdout.matchAll(/^ *>?(\d+) .*# take the name watcher-(\d+)$/gm)];
  assert.equal(names.length, count);
  assert.equal(new Set(names.map(([, op]) => op)).size, 1, "the op is one");
  assert.equal(new Set(names.map(([, , name]) => name)).size, count);
  assert.equal(crimg("validate", image).status, 0);
  await dumpAndResume(t, resumed.pid, `${image}.again`);
  await moreTicks(log, 2);
  assertUnbroken(log);
});

for (const way of [["--pid", "any"], ["strace"]] as const) {
  const [tool] = way;
  test(`${way.join(" ")}: threads are as they were`, { timeout: 120_000 }, async (t) => {
    const { pid, log, image } = await started(t);
    const dumped = crimg("dump", String(pid), "-o", image);
    assert.equal(dumped.status, 0, dumped.stderr);
    // Under strace nobody else can trace them, so that they leave by their own signal frames.
    const [command, args] = tool === "strace" ? ["strace", ["-f", "-o", "/dev/null", image]] : [image, way];
    const waiter = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    waiter.on("error", (error) => (said += String(error)));
    waiter.stderr.on("data", (text) => (said += String(text)));
    t.after(() => waiter.pid !== undefined && endTree(waiter.pid));
    if (tool === "strace" && (await until("it begins", () => said !== "" || waiter.exitCode !== null)) && /ENOENT/.test(said))
      return t.skip("strace is not installed");
    await moreTicks(log, 3);
    assertUnbroken(log);
    assert.doesNotMatch(readFileSync(log, "utf8"), /another/);
    if (tool === "strace") assert.match(said, /cannot trace the restored processes/);
  });
}
