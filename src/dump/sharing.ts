// SPDX-License-Identifier: Apache-2.0
/** What tasks share beyond what crimg can make again, and dispatch of their system calls. */
import { SysError } from "../native/sys.js";
import { failed, QuestionList, getSyscallUserDispatch, kcmpType, tryKcmp, tryReadMemory } from "../native/index.js";
import type { DumpedProcess } from "./context.js";
import { refusal } from "./refusal.js";

/** Kinds of kernel structures that must be private to one process. Shared descriptor tables are kept: see fds/look.ts. */
const structures = [
  [kcmpType.VM, "address space (CLONE_VM)"],
  [kcmpType.FS, "current directory (CLONE_FS)"],
] as const;

type Tasks = "processes" | "threads";

function compare(first: number, second: number, type: number, what: Tasks): number {
  const order = tryKcmp(first, second, type);
  if (failed(order)) throw new SysError("kcmp", -order, `${what} ${first} and ${second}`);
  return order;
}

/** Two of these tasks that share a structure. kcmp gives an order: equal ones meet when sorted, without comparing every pair. */
export function pairSharing(ids: readonly number[], type: number, what: Tasks): readonly [number, number] | undefined {
  const sorted = [...ids].sort((a, b) => [0, -1, 1][compare(a, b, type, what)] ?? 0);
  for (let index = 1; index < sorted.length; index++) {
    const [a, b] = [sorted[index - 1] as number, sorted[index] as number];
    if (compare(a, b, type, what) === 0) return [a, b];
  }
  return undefined;
}

/** The first thread of a process beside another. */
const besideFirst = (type: number): QuestionList => new QuestionList([{ call: "kcmp", args: [{ id: 0 }, { id: 1 }, type, 0, 0] }]);
const comparisons = { FILES: besideFirst(kcmpType.FILES), FS: besideFirst(kcmpType.FS) };

/** Places of the threads of a process that do not share a structure with its first. */
export function threadsApart({ pid, frozen }: DumpedProcess, type: keyof typeof comparisons): number[] {
  const others = frozen.threads.slice(1);
  if (others.length === 0) return [];
  const answers = comparisons[type].ask(Int32Array.from(others.flatMap(({ tid }) => [pid, tid])));
  return others.flatMap(({ tid }, row) => {
    const order = answers.result(row, 0);
    if (failed(order)) throw new SysError("kcmp", -order, `threads ${pid} and ${tid}`);
    return order === 0 ? [] : [row + 1];
  });
}

/**
 * Refuses processes that share a structure, and threads with a descriptor table of their own. Directories of threads are kept:
 * see thread-directories.ts.
 */
export function assertUnshared(processes: readonly DumpedProcess[]): void {
  const live = processes.filter((process) => !process.frozen.isZombie);
  const pids = live.map(({ pid }) => pid);
  const nameOf = (id: number): string => `${id} (${live.find(({ pid }) => pid === id)?.name})`;
  for (const [type, what] of structures) {
    const pair = pairSharing(pids, type, "processes");
    if (pair !== undefined) throw refusal("shared", `processes ${nameOf(pair[0])} and ${nameOf(pair[1])} share their ${what}`);
  }
  for (const process of live) {
    const [apart] = threadsApart(process, "FILES");
    if (apart === undefined) continue;
    const tid = process.frozen.threads[apart]?.tid;
    throw refusal("unshared", `process ${process.pid} (${process.name}): thread ${tid} has its own descriptor table (CLONE_FILES)`);
  }
}

/** Syscall user dispatch of every thread. */
export function checkDispatch({ pid, name, frozen }: Pick<DumpedProcess, "pid" | "name" | "frozen">): void {
  for (const { tid } of frozen.threads) {
    if (isDispatching(pid, tid)) {
      throw refusal(
        "syscall-user-dispatch",
        `thread ${tid} of ${pid} (${name}): syscall user dispatch is on, and would take the calls that crimg makes in it`,
        { hint: "Dump again in a moment: while its selector lets calls through, it is kept." },
      );
    }
  }
}

/** Whether system calls of the thread are dispatched just now: its selector says so, or there is none to let them through. */
function isDispatching(pid: number, tid: number): boolean {
  const { mode = 0, selector = 0n } = getSyscallUserDispatch(tid) ?? {};
  if (mode === 0) return false;
  const byte = Buffer.alloc(1);
  return selector === 0n || tryReadMemory(pid, selector, byte) !== 1 || byte.readUInt8() !== SYSCALL_DISPATCH_FILTER_ALLOW;
}

const SYSCALL_DISPATCH_FILTER_ALLOW = 0;
