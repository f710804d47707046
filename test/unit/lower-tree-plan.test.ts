// SPDX-License-Identifier: Apache-2.0
/** Who makes whom: sessions and groups whose leaders live, are elsewhere, or are gone. */
import assert from "node:assert/strict";
import test from "node:test";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { taskRow } from "../../src/gen/tables.js";
import { planTree } from "../../src/lower/tree-plan.js";

const task = (pid: number, parent: number | null, sid: number, pgid: number) => taskRow({ pid, parent, sid, pgid, state: "running" });

test("a child that stayed in the session its parent left is made before setsid", () => {
  const plan = planTree([task(1, null, 1, 1), task(2, 0, 2, 2), task(3, 1, 1, 1)], 0);
  assert.deepEqual(plan.tasks[1]?.early, [2]);
  assert.ok(plan.tasks[1]?.isSessionLeader);
  assert.equal(plan.isRootInCallersSession, false);
});

test("a child that stayed in the session its parent's parent left is made before both leave", () => {
  const plan = planTree([task(1, null, 1, 1), task(2, 0, 2, 2), task(3, 1, 3, 3), task(4, 2, 1, 1), task(5, 1, 5, 5)], 0);
  assert.deepEqual([plan.tasks[0]?.late, plan.tasks[1]?.early, plan.tasks[1]?.late, plan.tasks[2]?.early], [[1], [2], [4], [3]]);
});

test("a session whose leader is gone gets a stand-in", () => {
  const plan = planTree([task(1, null, 1, 1), task(3, 0, 2, 2), task(4, 0, 2, 2)], 0);
  assert.deepEqual(plan.tasks[0]?.goneLeaders, [{ sid: 2, members: [1, 2] }]);
});

test("a process that was orphaned into its leader's parent is made by the leader, as a sibling", () => {
  const plan = planTree([task(1, null, 1, 1), task(2, 0, 2, 2), task(3, 0, 2, 2)], 0);
  assert.deepEqual(plan.tasks[1]?.siblings, [2]);
});

test("a group whose leader is gone is led again by a helper of its first member; others join", () => {
  const plan = planTree([task(1, null, 1, 1), task(3, 0, 1, 2), task(4, 0, 1, 2)], 0);
  assert.deepEqual(plan.tasks[1]?.group, { kind: "revive", pgid: 2 });
  assert.deepEqual(plan.tasks[2]?.group, { kind: "join-revived", pgid: 2, by: 1 });
});

test("a root in a session of somebody else stays in the caller's", () => {
  const inGroup = planTree([task(5, null, 1, 4), task(6, 0, 1, 4)], 0);
  assert.deepEqual([inGroup.isRootInCallersSession, inGroup.isRootInCallersGroup], [true, true]);
  assert.deepEqual(inGroup.tasks[1]?.group, { kind: "inherit" });
  const ownGroup = planTree([task(5, null, 1, 5)], 0);
  assert.deepEqual([ownGroup.isRootInCallersSession, ownGroup.isRootInCallersGroup], [true, false]);
  assert.deepEqual(ownGroup.tasks[0]?.group, { kind: "lead" });
});

test("a process that was orphaned into a subreaper above its leader's parent is left behind by the leader", () => {
  const tasks = [{ ...task(1, null, 1, 1), childSubreaper: 1 }, task(2, 0, 2, 2), task(3, 1, 3, 3), task(4, 0, 3, 3)];
  const plan = planTree(tasks, 0);
  assert.deepEqual([plan.tasks[2]?.orphans, plan.tasks[0]?.received], [[3], [3]]);
});

test("a session that no order of forks gives is refused by name", () => {
  const tasks = [task(1, null, 1, 1), task(2, 0, 2, 2), task(3, 0, 1, 1), task(4, 2, 2, 2)];
  assert.throws(
    () => planTree(tasks, 0),
    (error) => error instanceof CrimgError && error.code === "lower.session" && /task 4/.test(error.message),
  );
});
