// SPDX-License-Identifier: Apache-2.0
/**
 * Who makes whom. Process groups and sessions cannot be entered at will: a session is only inherited (or led), a group
 * is only joined within the session. So the order of forks relative to setsid matters, and what is left of a session
 * or group whose leader is gone needs a helper with the leader's process id for a moment.
 */
import { CrimgError } from "../errors/crimg-error.js";
import type { TaskRow } from "../gen/tables.js";

export interface TaskPlan {
  readonly task: number;
  readonly row: TaskRow;
  /** Children made before this task calls setsid (they stay in the session it came from). */
  readonly early: number[];
  /** Children made afterwards. */
  readonly late: number[];
  /** Tasks that this one makes as siblings (CLONE_PARENT), since only it can give them their session. */
  readonly siblings: number[];
  /**
   * Tasks that a helper of this one makes and leaves behind, so that they come to their parent as they once did: their own one
   * ended, and the parent is who gets orphans (a child subreaper, or the init of the tree).
   */
  readonly orphans: number[];
  /** Tasks that come to this one so. */
  readonly received: number[];
  /** Session leaders that are gone: process id, and the children of this task that were in their session. */
  readonly goneLeaders: { readonly sid: number; readonly members: number[] }[];
  readonly isSessionLeader: boolean;
  /** How it gets into its process group. */
  group:
    | { readonly kind: "inherit" }
    | { readonly kind: "lead" }
    /** The leader is another task. */
    | { readonly kind: "join"; readonly pgid: number; readonly leader: number }
    /** The leader is gone; this task makes a helper with its id. */
    | { readonly kind: "revive"; readonly pgid: number }
    /** The leader is gone, and another task makes the helper. */
    | { readonly kind: "join-revived"; readonly pgid: number; readonly by: number };
}

export interface TreePlan {
  readonly root: number;
  readonly tasks: readonly TaskPlan[];
  /** The root stays in the session (and perhaps the group) of whoever starts the image. */
  readonly isRootInCallersSession: boolean;
  readonly isRootInCallersGroup: boolean;
}

export function planTree(tasks: readonly TaskRow[], root: number): TreePlan {
  const byPid = new Map(tasks.map((row, index) => [row.pid, index]));
  const rootRow = rowAt(tasks, root);
  const outsideSession = rootRow.sid === rootRow.pid ? undefined : rootRow.sid;
  const plans: TaskPlan[] = tasks.map((row, task) => ({
    task,
    row,
    early: [],
    late: [],
    siblings: [],
    orphans: [],
    received: [],
    goneLeaders: [],
    isSessionLeader: row.sid === row.pid,
    group: { kind: "inherit" },
  }));
  const planAt = (index: number): TaskPlan => {
    const plan = plans[index];
    if (plan === undefined) throw new CrimgError("lower.reference", `there is no task ${index}`, { path: `tasks[${index}]` });
    return plan;
  };
  tasks.forEach((row, child) => {
    if (child === root) return;
    if (row.parent === null) {
      throw new CrimgError("lower.parent", `task ${row.pid} has no parent in the tree`, { path: `tasks[${child}].parent` });
    }
    placeChild(child, row, planAt(row.parent), planAt, byPid, tasks);
  });
  plans.forEach(({ early }, task) => {
    // Leaders in these lists have been put there by this.
    for (const child of early.filter((one) => !planAt(one).isSessionLeader)) bearEarly(task, rowAt(tasks, child).sid, planAt);
  });
  const revivedBy = new Map<number, number>();
  tasks.forEach((row, task) => {
    planAt(task).group = planGroup(row, task, root, byPid, revivedBy, outsideSession, tasks);
  });
  return {
    root,
    tasks: plans,
    isRootInCallersSession: outsideSession !== undefined,
    isRootInCallersGroup: planAt(root).group.kind === "inherit" && outsideSession !== undefined,
  };
}

function placeChild(
  child: number,
  row: TaskRow,
  parent: TaskPlan,
  planAt: (index: number) => TaskPlan,
  byPid: ReadonlyMap<number, number>,
  tasks: readonly TaskRow[],
): void {
  if (row.sid === row.pid || row.sid === parent.row.sid) {
    parent.late.push(child);
    return;
  }
  if (mayBeBornIn(row.sid, parent, planAt)) {
    parent.early.push(child);
    return;
  }
  const leader = byPid.get(row.sid);
  if (leader === undefined) {
    const known = parent.goneLeaders.find(({ sid }) => sid === row.sid);
    if (known) known.members.push(child);
    else parent.goneLeaders.push({ sid: row.sid, members: [child] });
    return;
  }
  const leaderPlan = planAt(leader);
  if (leaderPlan.row.parent !== row.parent) {
    if (getsOrphansOf(leaderPlan.row, parent, tasks)) {
      leaderPlan.orphans.push(child);
      parent.received.push(child);
      return;
    }
    throw new CrimgError(
      "lower.session",
      `task ${row.pid} is in the session of ${row.sid}, from which it cannot have come to its parent: no order of forks gives that`,
      { path: `tasks[${child}].sid` },
    );
  }
  leaderPlan.siblings.push(child);
}

/** Whether a leader of a session may have been in another one before: its parent's, or one that its parent was born into itself. */
function mayBeBornIn(sid: number, { row, isSessionLeader }: TaskPlan, planAt: (index: number) => TaskPlan): boolean {
  if (!isSessionLeader || row.parent === null) return false;
  const parent = planAt(row.parent);
  return parent.row.sid === sid || mayBeBornIn(sid, parent, planAt);
}

/** Has a task be made before its parent leaves that session, and so on upwards. */
function bearEarly(task: number, sid: number, planAt: (index: number) => TaskPlan): void {
  const { row } = planAt(task);
  if (row.parent === null) return;
  const parent = planAt(row.parent);
  if (parent.row.sid === sid) return;
  const at = parent.late.indexOf(task);
  if (at >= 0) parent.early.push(...parent.late.splice(at, 1));
  bearEarly(row.parent, sid, planAt);
}

/** Whether what a process below `reaper` leaves behind becomes a child of that one, and of none in between. */
function getsOrphansOf(from: TaskRow, reaper: TaskPlan, tasks: readonly TaskRow[]): boolean {
  const isReaper = (row: TaskRow): boolean => row.childSubreaper !== 0 || row.pid === 1;
  if (!isReaper(reaper.row)) return false;
  for (let at = from.parent; at !== null; at = rowAt(tasks, at).parent) {
    if (at === reaper.task) return true;
    if (isReaper(rowAt(tasks, at))) return false;
  }
  return false;
}

function planGroup(
  row: TaskRow,
  task: number,
  root: number,
  byPid: ReadonlyMap<number, number>,
  revivedBy: Map<number, number>,
  outsideSession: number | undefined,
  tasks: readonly TaskRow[],
): TaskPlan["group"] {
  const { pid, pgid, sid } = row;
  // setsid made the group already.
  if (sid === pid) return { kind: "inherit" };
  if (pgid === pid) return { kind: "lead" };
  const leader = byPid.get(pgid);
  if (leader !== undefined) return { kind: "join", pgid, leader };
  // The group of whoever started the program: now that of whoever starts the image.
  if (task === root || (sid === outsideSession && pgid === rowAt(tasks, root).pgid)) return { kind: "inherit" };
  // A leader that is gone and led the session too: whoever stands in for it makes the group.
  if (pgid === sid) return { kind: "inherit" };
  const by = revivedBy.get(pgid);
  if (by !== undefined) return { kind: "join-revived", pgid, by };
  revivedBy.set(pgid, task);
  return { kind: "revive", pgid };
}

function rowAt(tasks: readonly TaskRow[], index: number): TaskRow {
  const row = tasks[index];
  if (row === undefined) throw new CrimgError("lower.reference", `there is no task ${index}`, { path: `tasks[${index}]` });
  return row;
}
