// SPDX-License-Identifier: Apache-2.0
/** What gdb shows of a core that crimg wrote is what it shows of the live process. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { compile, crimg, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";

/** Questions about registers, threads, backtraces, memory and mappings. */
const questions = [
  "thread apply all info registers",
  "thread apply all -q bt",
  "thread apply all p $xmm0",
  "info auxv",
  "x/64xg $sp",
  "x/s *(char **)environ",
];

/** gdb's answers, without names of threads (a core has none) and without what it says about attaching. */
function ask(directory: string, ...args: string[]): readonly string[] {
  const commands = questions.flatMap((question) => ["-ex", question]);
  const { status, stdout } = run("gdb", ["-nx", "-batch", ...commands, ...args], {
    seconds: 90,
    cwd: directory,
    env: { ...process.env, DEBUGINFOD_URLS: "" },
  });
  assert.equal(status, 0);
  const lines = stdout.split("\n").map((line) => line.replace(/ \(LWP ([0-9]+)\) "[^"]*"/, " (LWP $1)"));
  const first = lines.findIndex((line) => /^Thread [0-9]+ /.test(line));
  return lines.slice(first).filter((line) => !/^\[Inferior |^Detaching/.test(line));
}

test("gdb sees the same in the core of a tree as in the live processes", { timeout: 240_000 }, async (t) => {
  if (run("sh", ["-c", "command -v gdb cc"]).status !== 0) return t.skip("no gdb or cc");
  const directory = temporaryDirectory(t);
  const program = compile("nested-threads.c", directory, "-g", "-pthread");
  const { pid } = start(t, program, [], { cwd: directory });
  const tree = await until("the program has its threads and its child", () => {
    const pids = treeOf(pid);
    return pids.length === 2 &&
      readdirSync(`/proc/${pid}/task`).length === 4 &&
      readFileSync(`/proc/${pid}/syscall`, "latin1").startsWith("34 ")
      ? pids
      : undefined;
  });
  // Each thread in pause(): nothing moves between the two looks.
  await until("all threads wait", () =>
    tree.every((member) =>
      readdirSync(`/proc/${member}/task`).every((tid) => readFileSync(`/proc/${member}/task/${tid}/syscall`, "latin1").startsWith("34 ")),
    ),
  );
  const live = new Map(tree.map((member) => [member, ask(directory, "-p", String(member))]));
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  const cores = join(directory, "cores");
  const converted = crimg("convert", image, cores, "--to", "core");
  assert.equal(converted.status, 0, converted.stderr);
  assert.deepEqual(readdirSync(cores).sort(), tree.map((member) => `core.${member}`).sort());
  for (const [member, expected] of live) {
    assert.ok(expected.length > 50);
    assert.deepEqual(ask(directory, program, join(cores, `core.${member}`)), expected);
  }
});
