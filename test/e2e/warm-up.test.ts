// SPDX-License-Identifier: Apache-2.0
/** The practice before a dump leaves nothing behind, whatever fails in it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import test from "node:test";
import { callCount, endTrainee, setFault, startTrainee } from "../../src/native/index.js";
import { practise } from "../../src/ops/dump/warm-up.js";
import { until } from "../support/processes.js";

const childrenOfOurs = (): string => readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
/** Where descriptors lead; an event loop makes some of its own when it is first used. */
const descriptors = (): string[] =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      return [];
    }
  });

test("the process that a dump is practised on has what it should, and ends", async () => {
  const pid = startTrainee();
  assert.ok(pid > 0, String(pid));
  try {
    await until("it runs its program", () => readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("memfd:crimg"));
    assert.deepEqual(readdirSync(`/proc/${pid}/fd`).sort(), ["0", "1", "2", "3", "4", "5"]);
    assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /^SigBlk:\t0+$/m);
    assert.match(childrenOfOurs(), new RegExp(`\\b${pid}\\b`));
  } finally {
    endTrainee(pid);
  }
  assert.doesNotMatch(childrenOfOurs(), new RegExp(`\\b${pid}\\b`));
});

test("practice leaves nothing, nor does a call that fails in it", { timeout: 120_000 }, async (t) => {
  // Where there are sets of semaphores, a process of crimg's own is compared with those under dump.
  const set = /\d+$/m.exec(execFileSync("ipcmk", ["-S", "1"], { encoding: "utf8" }))?.[0] ?? "";
  t.after(() => execFileSync("ipcrm", ["-s", set]));
  // Of a fork no call is made to fail: one that cannot even be killed would be waited for.
  const what = { isDetached: true, mayFork: true };
  await practise(what);
  const before = descriptors();
  const first = callCount();
  await practise(what);
  const calls = callCount() - first;
  assert.deepEqual(descriptors(), before);
  assert.ok(calls > 100, `only ${calls} calls`);
  for (let nth = 1; nth <= calls / 2; nth++) {
    setFault(nth, 5);
    await practise({ ...what, isDetached: false });
    setFault(0, 0);
    assert.equal(childrenOfOurs(), "", `call ${nth} of ${calls}`);
  }
});
