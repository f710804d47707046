// SPDX-License-Identifier: Apache-2.0
/** When a resume goes wrong: one message that names the object, status 125, and nothing half-alive. */
import assert from "node:assert/strict";
import { appendFileSync, chmodSync, copyFileSync, renameSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { dumpAndKill, moreTicks } from "../support/cycle.js";
import { compile, isAlive, run, start, temporaryDirectory, type Outcome } from "../support/processes.js";

interface Frozen {
  readonly directory: string;
  readonly program: string;
  readonly log: string;
  readonly image: string;
  readonly pid: number;
}

/** A dynamic counting program, dumped and gone. */
async function frozen(t: TestContext): Promise<Frozen> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const program = compile("counter.c", directory);
  const { pid } = start(t, program, [log], { cwd: directory });
  await moreTicks(log, 2);
  const image = join(directory, "image.elf");
  await dumpAndKill(pid, image);
  return { directory, program, log, image, pid };
}

function assertFailed(outcome: Outcome, message: RegExp, pid: number): void {
  assert.match(outcome.stderr, message);
  assert.equal(outcome.status, 125, `${outcome.stderr} ${outcome.signal}`);
  assert.ok(!isAlive(pid), "something of the tree is alive");
}

test("a mapped file is missing", async (t) => {
  const { program, image, pid } = await frozen(t);
  renameSync(program, `${program}.away`);
  assertFailed(run(image, []), /counter.*No such file/, pid);
  renameSync(`${program}.away`, program);
});

test("an opened file is missing", async (t) => {
  const { log, image, pid } = await frozen(t);
  rmSync(log);
  assertFailed(run(image, []), /log.*No such file/, pid);
});

test("a mapped file has changed", async (t) => {
  const { program, image, pid } = await frozen(t);
  appendFileSync(program, "x");
  assertFailed(run(image, []), /counter.*(changed|size|differs)/, pid);
});

test("the image is truncated", async (t) => {
  const { image, pid } = await frozen(t);
  const whole = statSync(image).size;
  for (const part of [0.3, 0.6, 0.9]) {
    const cut = `${image}.${part}`;
    copyFileSync(image, cut);
    chmodSync(cut, 0o700);
    truncateSync(cut, Math.floor(whole * part));
    const outcome = run(cut, []);
    assert.notEqual(outcome.status, 0);
    assert.equal(outcome.signal, null, `${part}: ${outcome.signal}`);
    assert.notEqual(outcome.stderr, "");
    assert.ok(!isAlive(pid));
  }
});

test("the pid is taken", { skip: process.getuid?.() !== 0 && "pids are chosen by root only" }, async (t) => {
  const { directory, image, log, pid } = await frozen(t);
  const other = start(t, image, [], { cwd: directory });
  await moreTicks(log, 2);
  const outcome = run(image, []);
  assert.match(outcome.stderr, new RegExp(`${pid} \\(counter\\): File exists[^]*in use`));
  assert.equal(outcome.status, 125);
  await moreTicks(log, 2);
  assert.ok(isAlive(other.pid));
});
