// SPDX-License-Identifier: Apache-2.0
/** The tasks table: who is whose child, state, and what belongs to a process as a whole. */
import { decodeText } from "../bytes/text.js";
import { type RlimitResource, rlimitResourceNames, rlimitRow, taskRow, type TaskRow } from "../gen/tables.js";
import { statesOfTask } from "../state/states.js";
import { failed, tryPrlimit, tryStat } from "../native/index.js";
import type { DumpContext, DumpedProcess, Questioned } from "./context.js";
import type { FrozenProcess } from "./freeze.js";
import type { FactsOfProcess } from "./tree-facts.js";
import { innermost, procPath, readStat, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";
import { readStates, ThreadAsking } from "./state-reader.js";

/** What /proc alone says of a process; the rest comes from calls in it. `parent` is a row or null. */
export function outerTaskRow(process: FrozenProcess, parent: number | null, parentPid: number, facts?: FactsOfProcess): TaskRow {
  const path = procPath(process.pid);
  const status = facts?.status ?? readStatus(path);
  const stat = facts?.stat ?? readStat(path);
  if (status === undefined || stat === undefined) {
    throw refusal("ended", `process ${process.pid}: it ended while being dumped`);
  }
  return taskRow({
    pid: innermost(status, "NSpid") ?? process.pid,
    parent,
    ppid: parentPid,
    pgid: innermost(status, "NSpgid") ?? Number(stat.field(5)),
    sid: innermost(status, "NSsid") ?? Number(stat.field(6)),
    state: process.isZombie ? "zombie" : process.stopSignal !== 0 ? "stopped" : "running",
    comm: process.isZombie ? decodeText(stat.comm) : "",
    waitStatus: process.isZombie ? Number(stat.field(52)) : 0,
    stopSignal: process.stopSignal,
    exitSignal: Number(BigInt.asUintN(32, stat.field(38))),
    taskFlags: Number(stat.field(9)),
    controlsTerminal: stat.field(7) !== 0n ? 1 : 0,
    foregroundPgid: groupAsSeen(Number(stat.field(8))),
  });
}

/** A process group of crimg's pid namespace as the tree sees it; -1 stays. */
function groupAsSeen(pgid: number): number {
  const leader = pgid > 0 ? readStatus(procPath(pgid)) : undefined;
  return (leader && innermost(leader, "NSpid")) ?? pgid;
}

/** What only the process itself can be asked. */
export function collectInnerTask(context: DumpContext, process: DumpedProcess): void {
  const { tables } = context;
  const row = tables.tasks[process.row] as TaskRow;
  const injector = process.injector();
  const path = procPath(process.pid);
  const states = readStates(statesOfTask, new ThreadAsking(process, process.pid, injector, process.own));
  if (row.pid !== row.sid && (states.autogroupNice ?? 0) !== 0) {
    // It is the session's, and its leader sets it again. A session outside the tree is the caller's.
    if (!tables.tasks.some(({ pid }) => pid === row.sid)) {
      context.lose(
        "dump.autogroup",
        `${process.pid} (${process.name}): the autogroup, with nice ${states.autogroupNice}, becomes the caller's`,
      );
    }
    states.autogroupNice = 0;
  }
  tables.tasks[process.row] = {
    ...row,
    // The root's parent is outside: what the program itself would be told.
    ppid: row.parent === null ? Math.max(injector.call("getppid"), 0) : row.ppid,
    cwd: context.objects.addLink(`${path}/cwd`, `current directory of ${process.pid} (${process.name})`, undefined, process),
    root: rootOf(context, path, `${process.pid} (${process.name})`, process),
    ...states,
  };
}

/** The root directory of a task or thread by its folder in /proc; null for the usual one. */
export function rootOf({ view, objects }: DumpContext, path: string, who: string, process?: Questioned): number | null {
  const isUsual = view.isRoot(path) ?? isOurRoot(`${path}/root`);
  return isUsual ? null : objects.addLink(`${path}/root`, `root of ${who}`, undefined, process);
}

/** Whether a task's root directory is that of crimg. */
function isOurRoot(path: string): boolean {
  const theirs = tryStat(path);
  const ours = tryStat("/proc/self/root");
  return typeof theirs !== "number" && typeof ours !== "number" && theirs.dev === ours.dev && theirs.ino === ours.ino;
}

/** All resource limits; asked through the process itself where crimg may not. */
export function collectRlimits(context: DumpContext, process: DumpedProcess): void {
  let place = 0;
  for (const [number, resource] of rlimitResourceNames as ReadonlyMap<number, RlimitResource>) {
    const told = process.own?.limit(place++);
    let limit = told === undefined ? tryPrlimit(process.pid, number) : limitOf(told);
    if (typeof limit === "number") {
      const out = Buffer.alloc(16);
      const result = process.injector().call("prlimit64", 0, number, 0, { out });
      if (failed(result)) continue;
      limit = limitOf(out);
    }
    context.tables.rlimits.push(rlimitRow({ task: process.row, resource, ...limit }));
  }
}

/** struct rlimit64. */
function limitOf(bytes: Buffer): { readonly soft: bigint; readonly hard: bigint } {
  return { soft: bytes.readBigUInt64LE(0), hard: bytes.readBigUInt64LE(8) };
}

/** The name of a process for messages. */
export function processName(pid: number, facts?: FactsOfProcess): string {
  const stat = facts?.stat ?? readStat(procPath(pid));
  return stat === undefined ? "?" : decodeText(stat.comm);
}
