// SPDX-License-Identifier: Apache-2.0
/** Terminals: both ends in the tree with all that is in them; a shell with its job on the caller's terminal. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";
import { criuDump, criuRestore } from "../support/criu-run.js";
import { criuBin, crimgCommand, noCriu, projectRoot } from "../support/project.js";

const skip = existsSync("/usr/bin/python3") ? false : "python3 is not installed";
const timeout = 180_000;
const program = join(projectRoot, "test/programs/terminals.py");

/** What the program sees of its terminals when all is as it made it. */
const whole = {
  size: [33, 77, 5, 6],
  echo: 0,
  intr: "\u0007",
  packet: 1,
  exclusive: 1,
  locked: 1,
  nonblock: 2048,
  lines: ["a whole line\n", "begun and ended\n"],
  hung: 5,
};

interface Pair {
  readonly name: string;
  readonly output: string;
}

/** Has the program look at its terminals. */
async function report(pid: number, path: string): Promise<Pair> {
  rmSync(path, { force: true });
  process.kill(pid, "SIGUSR1");
  await until("the program has looked", () => existsSync(path));
  return JSON.parse(readFileSync(path, "utf8")) as Pair;
}

async function startPair(t: TestContext, directory: string): Promise<{ pid: number; path: string }> {
  const path = join(directory, "report");
  const { pid } = start(t, "/usr/bin/python3", [program, "pair", path], { cwd: directory });
  await until("the program is ready", () => existsSync(`${path}.ready`));
  return { pid, path };
}

test("a pseudoterminal in the tree: modes, size, locks, lines and output under way, twice", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid, path } = await startPair(t, directory);
  let root = pid;
  for (const round of [1, 2]) {
    const image = join(directory, `${round}.elf`);
    const dumped = crimg("dump", String(root), "-o", image);
    assert.equal(dumped.status, 0, dumped.stderr);
    await until("the program is gone", () => !existsSync(`/proc/${root}`));
    const pidfile = join(directory, "pid");
    const resumed = run(image, ["--detach", "--pidfile", pidfile]);
    assert.equal(resumed.status, 0, resumed.stderr);
    root = Number(readFileSync(pidfile, "utf8"));
    const kept = root;
    t.after(() => endTree(kept));
    const { name, output, ...seen } = await report(root, path);
    assert.match(name, /^\/dev\/pts\/\d+$/);
    // the packet's first byte, then the output with the carriage return of ONLCR
    assert.equal(output, "\0some output\r\n");
    assert.deepEqual(seen, whole);
  }
});

test("a dump with --leave-running leaves what is under way in a terminal where it was", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid, path } = await startPair(t, directory);
  for (const round of [1, 2, 3]) {
    const dumped = crimg("dump", String(pid), "-o", join(directory, `${round}.elf`), "--leave-running");
    assert.equal(dumped.status, 0, dumped.stderr);
  }
  const { output, ...seen } = (await report(pid, path)) as Pair & { lines: string[] };
  assert.equal(output, "\0some output\r\n");
  assert.deepEqual(seen.lines, ["a whole line\n", "begun and ended\n"]);
});

// CRIU 4.2 does not set exclusive mode again.
const skipCriu = skip || (criuBin === undefined && noCriu);

test("CRIU restores a pseudoterminal that crimg dumped", { skip: skipCriu, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid, path } = await startPair(t, directory);
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image);
  assert.equal(dumped.status, 0, dumped.stderr);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  const set = join(directory, "criu");
  const converted = crimg("convert", image, set, "--to", "criu");
  assert.equal(converted.status, 0, converted.stderr);
  criuRestore(t, pid, set);
  const { name: _name, output: _output, ...seen } = await report(pid, path);
  assert.deepEqual(seen, { ...whole, exclusive: 0 });
});

test("a pseudoterminal that CRIU dumped resumes as an executable", { skip: skipCriu, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid, path } = await startPair(t, directory);
  await criuDump(pid, join(directory, "criu"));
  const image = join(directory, "image.elf");
  const converted = crimg("convert", join(directory, "criu"), image);
  assert.equal(converted.status, 0, converted.stderr);
  const pidfile = join(directory, "pid");
  const resumed = run(image, ["--detach", "--pidfile", pidfile]);
  assert.equal(resumed.status, 0, resumed.stderr);
  const root = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(root));
  const { name: _name, output: _output, ...seen } = await report(root, path);
  // CRIU does not see a line that is only begun.
  assert.deepEqual(seen, { ...whole, lines: ["a whole line\n", " and ended\n"] });
});

/** Runs bash with a job in a terminal, dumps and resumes it in another, and types into it. */
function drive(directory: string, ...options: string[]): Readonly<Record<string, unknown>> {
  const { stdout, stderr } = run("/usr/bin/python3", [program, "drive", join(directory, "image.elf"), crimgCommand, ...options]);
  assert.notEqual(stdout, "", stderr);
  return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
}

test("a resumed shell has its controlling terminal: ^C ends the job, ^Z stops one, /dev/tty opens", {
  skip: skip || (!existsSync("/bin/bash") && "bash is not installed"),
  timeout,
}, (t) => {
  const seen = drive(temporaryDirectory(t));
  assert.deepEqual(seen["dump"], [0, ""]);
  assert.equal(seen["typed"], true, "the job reads what is typed");
  assert.match(String(seen["after"]), new RegExp(`42 ${seen["pid"]} pts/\\d+ +\\d+`));
  assert.equal(seen["opens"], true, "/dev/tty opens");
  assert.equal(seen["stopped"], true, "^Z stops the foreground job");
  assert.equal(seen["status"], 7);
});
