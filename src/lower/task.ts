// SPDX-License-Identifier: Apache-2.0
/** One process: its place in the tree, memory, descriptors, process-wide state, threads. */
import type { DescriptorLowering } from "./context.js";
import { CLONE, P_PID, PR, SIG, WAIT } from "./constants.js";
import { setForegroundGroup, takeControllingTerminal } from "./controlling-terminal.js";
import { lowerRelease } from "./release-threads.js";
import type { Lowering } from "./lowering.js";
import type { Inheritance } from "./inheritance.js";
import { lowerMemory, unmapParents, unmapStaging } from "./memory.js";
import { type Label, rowId, type Shared, type Slot } from "./operands.js";
import { enterNamespacesOfTask } from "./own-namespaces/several.js";
import { endWithStatus, threadFlags } from "./process.js";
import { lowerPendingSignals, lowerSignalActions } from "./signals.js";
import { setTaskStates } from "./state-setter.js";
import { lowerLimitOfThreads, lowerLimits, lowerThreadState } from "./thread-state.js";
import { allowTileCode } from "./tiles.js";
import { lowerTimers } from "./timers.js";
import type { ProgramBuilder } from "./program-builder.js";
import type { TaskPlan, TreePlan } from "./tree-plan.js";

export interface Directories {
  readonly cwd?: Slot;
  readonly root?: Slot;
}

export interface TreeLowering {
  readonly l: Lowering;
  readonly tree: TreePlan;
  readonly descriptors: DescriptorLowering;
  /** By task, opened in the first process. */
  readonly directories: readonly Directories[];
  readonly labels: readonly Label[];
  /** What children keep of their parent's memory. */
  readonly inheritance: ReadonlyMap<number, Inheritance>;
  readonly forkedFromMemory: ReadonlyMap<number, number>;
  readonly counts: {
    /** Who counts on `placed`: tasks and stand-ins for leaders of groups. */
    readonly placed: number;
    /** Tasks that leave orphans behind. */
    readonly orphaned: number;
    readonly joined: number;
    readonly living: number;
  };
}

/** The ops of a task, from its first (as a fresh fork of its parent) to leaving. */
export function lowerTask(t: TreeLowering, plan: TaskPlan): void {
  const { l } = t;
  const b = l.builder;
  const label = t.labels[plan.task];
  if (label === undefined) throw new RangeError(`no task ${plan.task}`);
  b.place(label);
  b.about(l.taskSubject(plan.task), () => {
    if (plan.received.length > 0) b.syscall("prctl", [PR.setChildSubreaper, 1, 0, 0, 0], { message: "become a child subreaper" });
    const parent = plan.row.parent === null ? undefined : t.tree.tasks[plan.row.parent];
    if (parent?.received.includes(plan.task) === true) b.wait(l.orphaned, t.counts.orphaned);
    // If the parent dies before everything runs, so does the child: nothing half-alive remains.
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    publishOwnId(l, "getpid", l.taskShared(plan.task));
    const memory = new TaskMemory(t, plan);
    const helpers = makeRelatives(t, plan, memory);
    b.count(l.placed);
    joinGroup(t, plan);
    if (plan.row.state === "zombie") {
      if (plan.row.comm !== "")
        b.syscall("prctl", [PR.setName, b.string(plan.row.comm), 0, 0, 0], { message: `take the name ${plan.row.comm}` });
      if (t.counts.joined > 0) b.wait(l.joined, t.counts.joined);
      // Left behind they would be zombies of whoever takes up orphans.
      reap(b, helpers);
      endWithStatus(b, plan.row.waitStatus);
      return;
    }
    // Zombies and stand-ins end after this. Here, unlike in the calls that reap, it is seen if somebody is killed.
    if (t.counts.joined > 0) b.wait(l.joined, t.counts.joined);
    if (plan.received.length > 0) b.wait(l.orphaned, t.counts.orphaned);
    for (const child of [...plan.early, ...plan.late, ...plan.received]) awaitZombie(l, child);
    // Made by stand-ins: only when they have their places are their ids known.
    if (plan.goneLeaders.length > 0) b.wait(l.placed, t.counts.placed);
    for (const { members } of plan.goneLeaders) for (const member of members) awaitZombie(l, member);
    memory.make();
    unmapStaging(l.memoryParts);
    // All children are forked: those of the restore itself are not to be followed.
    if (plan.row.mm !== null) l.lazy?.register(plan.row.mm, l.taskShared(plan.task));
    // Before the root directory changes: /proc may be out of reach then.
    setTaskStates(l, "proc", plan.task);
    enterDirectories(t, plan);
    l.threadDirectories.place(plan.task);
    const table = l.descriptorTables.get(plan.row.descriptorTable ?? plan.task);
    if (plan.row.descriptorTable === null) {
      // Those who share this table need what is open in it only until here.
      if (table !== undefined) b.wait(table.released, table.sharers);
      t.descriptors.placeDescriptors(plan.task);
      const last = l.checkpoint.tables.threadDirectories.length === 0 ? l.highFds.last : l.highFds.firstOfThreads - 1;
      b.syscall("close_range", [l.highFds.first, last, 0], { message: "close what the restore had open" });
    } else if (table !== undefined) {
      b.count(table.released);
    }
    b.count(l.descriptorsPlaced);
    if (t.counts.living > 1) b.wait(l.descriptorsPlaced, t.counts.living);
    if (l.own !== undefined && plan.task === t.tree.root && l.ended.isUsed) l.ended.finish();
    t.descriptors.finishDescriptors(plan.task);
    l.semaphores.undo(plan.task);
    setForegroundGroup(l, t.tree, plan);
    reap(b, helpers);
    allowTileCode(l, plan.task);
    setTaskStates(l, "process", plan.task);
    lowerLimits(l, plan.task);
    lowerSignalActions(b, l.checkpoint, plan.task);
    lowerThreads(t, plan);
  });
}

/** When a task gets its memory: usually when all tasks are there, but before those who inherit it are forked. */
class TaskMemory {
  #isMade = false;

  constructor(
    private readonly t: TreeLowering,
    private readonly plan: TaskPlan,
  ) {}

  make(): void {
    const { l, inheritance, forkedFromMemory } = this.t;
    const { row, task } = this.plan;
    if (this.#isMade || row.mm === null) return;
    this.#isMade = true;
    l.cgroups?.enter(task);
    const inherited = inheritance.get(task);
    const foreign = forkedFromMemory.get(task);
    if (foreign !== undefined) unmapParents(l.memoryParts, foreign, inherited);
    setTaskStates(l, "memory", task);
    lowerMemory(l.memoryParts, row.mm, l.taskSubject(task), inherited);
  }
}

/**
 * Tasks whose memory is that of another when they begin, with its row in `mms`: heirs, whoever is forked after them (or by a
 * helper that is), and whoever these fork before they have their own.
 */
export function tasksForkedFromMemory(tree: TreePlan, inheritance: ReadonlyMap<number, Inheritance>): ReadonlyMap<number, number> {
  const foreign = new Map<number, number>();
  const begin = (task: number, memory: number | undefined): void => {
    const plan = tree.tasks[task];
    if (memory !== undefined) foreign.set(task, memory);
    if (plan === undefined) return;
    let current = memory;
    const forkAll = (children: readonly number[]): void => {
      const heirs = children.filter((child) => inheritance.has(child));
      for (const child of children) if (!inheritance.has(child)) begin(child, current);
      if (heirs.length > 0 && plan.row.mm !== null) current = plan.row.mm;
      for (const child of heirs) begin(child, current);
    };
    forkAll(plan.early);
    forkAll(plan.late);
    for (const child of [...plan.siblings, ...plan.orphans, ...plan.goneLeaders.flatMap(({ members }) => members)]) begin(child, current);
  };
  begin(tree.root, undefined);
  return foreign;
}

/** The parent publishes it too, but perhaps only after the child has run far ahead. */
function publishOwnId(l: Lowering, call: "getpid" | "gettid", shared: Shared): void {
  const own = l.builder.slot(`own ${shared.name}`);
  l.builder.syscall(call, [], { store: own });
  l.builder.store4(shared, own);
}

/** Forks children before and after setsid, and the stand-ins. Returns the pid slots of stand-ins to reap. */
function makeRelatives(t: TreeLowering, plan: TaskPlan, memory: TaskMemory): Slot[] {
  const { l } = t;
  const b = l.builder;
  const helpers: Slot[] = [];
  /** Those who inherit come last of their kind, when the memory is there. */
  const forkAll = (children: readonly number[]): void => {
    const isHeir = (child: number): boolean => t.inheritance.has(child);
    for (const child of children.filter((one) => !isHeir(one))) fork(t, child, 0);
    if (children.some(isHeir)) memory.make();
    for (const child of children.filter(isHeir)) fork(t, child, 0);
  };
  forkAll(plan.early);
  if (plan.isSessionLeader) {
    b.syscall("setsid", [], { message: "lead a new session" });
    takeControllingTerminal(t, plan);
  }
  forkAll(plan.late);
  for (const sibling of plan.siblings) fork(t, sibling, CLONE.parent);
  if (plan.orphans.length > 0) leaveOrphans(t, plan);
  for (const { sid, members } of plan.goneLeaders) {
    helpers.push(
      standIn(t, sid, () => {
        b.syscall("setsid", [], { message: `lead session ${sid} again` });
        for (const member of members) fork(t, member, CLONE.parent);
      }),
    );
  }
  if (plan.group.kind === "lead") b.syscall("setpgid", [0, 0], { message: "lead a process group" });
  if (plan.group.kind === "revive") {
    helpers.push(
      standIn(t, plan.group.pgid, () => {
        b.syscall("setpgid", [0, 0], { message: `lead process group ${plan.row.pgid} again` });
        b.count(l.placed);
        b.wait(l.joined, t.counts.joined);
      }),
    );
  }
  return helpers;
}

/** A helper makes them and ends; then they are their parent's. */
function leaveOrphans(t: TreeLowering, plan: TaskPlan): void {
  const { l } = t;
  const b = l.builder;
  const helper = b.label("leave orphans behind");
  const after = b.label("orphans are left behind");
  const shared = b.endingPid(`process that leaves orphans of ${plan.row.pid} behind`);
  l.processes.auxiliary(l.spareId(), 0, shared, helper);
  b.jump(after);
  b.place(helper);
  b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0]);
  for (const orphan of plan.orphans) fork(t, orphan, 0);
  b.syscall("exit_group", [0]);
  b.place(after);
  b.syscall("wait4", [shared.u4, 0, WAIT.wall, 0], { message: "reap the process that leaves orphans behind" });
  b.count(l.orphaned);
}

function fork(t: TreeLowering, child: number, flags: number): void {
  const { l } = t;
  const row = l.task(child);
  const label = t.labels[child];
  if (label === undefined) throw new RangeError(`no task ${child}`);
  l.processes.fork(
    {
      pid: row.pid,
      flags: row.descriptorTable === null ? flags : flags | CLONE.files,
      // With CLONE_PARENT the kernel takes that of the caller.
      exitSignal: flags === 0 ? row.exitSignal : 0,
      shared: l.taskShared(child),
      what: `process ${l.taskName(child)}`,
    },
    label,
  );
}

/** A process that only lends its id to a session or a group whose leader is gone, does `build`, and ends. */
function standIn(t: TreeLowering, pid: number, build: () => void): Slot {
  const { l } = t;
  const b = l.builder;
  const child = b.label(`stand-in ${pid}`);
  const after = b.label(`after stand-in ${pid}`);
  const shared = b.endingPid(`stand-in for ${pid}`);
  const result = b.slot(`pid of stand-in ${pid}`);
  l.processes.fork({ pid, flags: 0, exitSignal: SIG.chld, shared, what: `a stand-in for ${pid}, which is gone` }, child);
  b.compute(result, "move", shared.u4);
  b.jump(after);
  b.place(child);
  b.about(`stand-in for ${pid}`, () => {
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0]);
    build();
    b.syscall("exit_group", [0]);
  });
  b.place(after);
  return result;
}

function reap(b: ProgramBuilder, helpers: readonly Slot[]): void {
  for (const helper of helpers) b.syscall("wait4", [helper, 0, WAIT.wall, 0], { message: "reap the stand-in for a leader that is gone" });
}

function joinGroup(t: TreeLowering, { group }: TaskPlan): void {
  const { l } = t;
  const b = l.builder;
  if (group.kind === "inherit" || group.kind === "lead") return;
  b.wait(l.placed, t.counts.placed);
  const pgid = group.kind === "join" ? l.taskPid(group.leader) : group.pgid;
  b.syscall("setpgid", [0, pgid], { message: `join process group ${group.pgid}` });
  b.count(l.joined);
}

function awaitZombie(l: Lowering, child: number): void {
  const row = l.task(child);
  if (row.state !== "zombie") return;
  l.builder.syscall("waitid", [P_PID, l.taskPid(child), 0, WAIT.exited | WAIT.nowait, 0], { message: `see ${row.pid} end as a zombie` });
}

function enterDirectories(t: TreeLowering, plan: TaskPlan): void {
  const b = t.l.builder;
  const { cwd, root } = t.directories[plan.task] ?? {};
  enterNamespacesOfTask(t.l, plan.task);
  if (root !== undefined) {
    b.syscall("fchdir", [root], { message: "enter the root directory" });
    b.syscall("chroot", [b.string(".")], { message: "change the root directory", hint: "resume as root" });
  }
  if (cwd !== undefined) b.syscall("fchdir", [cwd], { message: "enter the current directory" });
}

function lowerThreads(t: TreeLowering, plan: TaskPlan): void {
  const { l } = t;
  const b = l.builder;
  const [leader, ...others] = l.checkpoint.threadsOf(plan.task);
  if (leader === undefined) return;
  const maker = others.length === 0 ? undefined : l.processes.threadMaker(threadFlags);
  const tidOf = (index: number): number => l.thread(index).tid;
  b.forEach(others, tidOf, (index) => {
    if (maker === undefined) return;
    const [start, isMade] = [b.label("the thread"), b.label("the thread is made")];
    l.processes.thread(maker, { pid: tidOf(index), shared: l.threadShared(index) }, start);
    b.jump(isMade);
    b.place(start);
    b.about(`thread ${rowId} of ${l.taskSubject(plan.task)}`, () => {
      publishOwnId(l, "gettid", l.threadShared(index));
      t.descriptors.finishThread(index);
      l.threadDirectories.enter(index);
      lowerThreadState(l, index);
      lowerRelease(l, index);
    });
    b.place(isMade);
  });
  lowerLimitOfThreads(l, plan.task);
  lowerPendingSignals(b, l.checkpoint, plan.task, undefined, l.taskPid(plan.task), l.threadShared(leader).u4);
  lowerTimers(b, l.checkpoint, plan.task, (tid) => {
    const index = l.checkpoint.threadsOf(plan.task).find((candidate) => l.thread(candidate).tid === tid);
    if (index !== undefined) return l.threadShared(index).u4;
    const task = l.checkpoint.tables.tasks.findIndex(({ pid }) => pid === tid);
    return task < 0 ? tid : l.taskPid(task);
  });
  lowerThreadState(l, leader);
  lowerRelease(l, leader);
}
