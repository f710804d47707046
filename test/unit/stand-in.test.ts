// SPDX-License-Identifier: Apache-2.0
/** A process that runs on is not asked any more: a fork answers for it, or it is told that nobody can. */
import assert from "node:assert/strict";
import test from "node:test";
import { letAnswer, NotAsked, QuestionList, tryOpen, tryPrlimit, tryReadlink, tryReadSmall, tryStat } from "../../src/native/index.js";

const pid = 4711;
const told = Buffer.from("told");

test("only what a fork has as well is looked at, and there", (t) => {
  t.after(() => letAnswer(undefined));
  const own = tryReadlink(`/proc/${process.pid}/cwd`);
  letAnswer({
    pid,
    tids: new Set([pid, 4712]),
    fork: process.pid,
    told: new Map([[`/proc/${pid}/status`, told]]),
    files: new Map([["/proc/4711/map_files/1000-2000", -2]]),
    xstates: new Map(),
  });
  assert.deepEqual(tryReadlink(`/proc/${pid}/cwd`), own);
  assert.deepEqual(tryReadlink(`/proc/${pid}/task/${pid}/cwd`), own);
  assert.ok((tryReadSmall(`/proc/${pid}/maps`)?.length ?? 0) > 0);
  assert.equal(tryReadSmall(`/proc/${pid}/status`), told);
  assert.equal(tryStat(`/proc/${pid}/map_files/1000-2000`), -2);
  for (const path of ["fd/0", "stat", "timers", "task/4712/cwd", "task/4711/fd/0", "task/4712/maps", ""]) {
    assert.throws(() => tryReadlink(`/proc/${pid}/${path}`), NotAsked, path);
    assert.throws(() => tryOpen(`/proc/${pid}/${path}`, 0), NotAsked, path);
  }
  assert.throws(() => tryPrlimit(pid, 7), NotAsked);
  assert.throws(() => new QuestionList([{ file: "/proc/\u0001/task/\u0002/stat" }]).ask(Int32Array.of(pid, 4712), 64), NotAsked);
  assert.equal(typeof tryPrlimit(process.pid, 7), "object");
});
