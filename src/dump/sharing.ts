// SPDX-License-Identifier: Apache-2.0
/** What tasks share beyond what crimg can make again, and dispatch of their system calls. */
import { SysError } from "../native/sys.js";
import { failed, type Question, QuestionList, getSyscallUserDispatch, kcmpType, tryKcmp, tryReadMemory } from "../native/index.js";
import type { DumpedProcess } from "./context.js";
import { refusal } from "./refusal.js";

/** Kinds of kernel structures that must be private to one process. Shared descriptor tables are kept: see fds/look.ts. */
const structures = [
  [kcmpType.VM, "address space (CLONE_VM)"],
  [kcmpType.FS, "current directory (CLONE_FS)"],
] as const;

/** What the threads of one process must share. Directories of their own are kept: see thread-directories.ts. */
const ofThreads = [[kcmpType.FILES, "descriptor table (CLONE_FILES)"]] as const;

/** The first thread of a process beside another. */
const comparisons = new QuestionList(ofThreads.map(([type]): Question => ({ call: "kcmp", args: [{ id: 0 }, { id: 1 }, type, 0, 0] })));

function compare(first: number, second: number, type: number): number {
  const order = tryKcmp(first, second, type);
  if (failed(order)) throw new SysError("kcmp", -order, `processes ${first} and ${second}`);
  return order;
}

/** Refuses processes that share a structure, and threads that do not share what threads share. */
export function assertUnshared(processes: readonly DumpedProcess[]): void {
  const live = processes.filter((process) => !process.frozen.isZombie);
  for (const [type, what] of structures) {
    // kcmp gives an order: equal ones meet when sorted, without comparing every pair.
    const sorted = [...live].sort((a, b) => [0, -1, 1][compare(a.pid, b.pid, type)] ?? 0);
    for (let index = 1; index < sorted.length; index++) {
      const [a, b] = [sorted[index - 1] as DumpedProcess, sorted[index] as DumpedProcess];
      if (compare(a.pid, b.pid, type) === 0) {
        throw refusal("shared", `processes ${a.pid} (${a.name}) and ${b.pid} (${b.name}) share their ${what}`);
      }
    }
  }
  for (const { pid, name, frozen } of live) {
    const others = frozen.threads.slice(1);
    const answers = comparisons.ask(Int32Array.from(others.flatMap(({ tid }) => [pid, tid])));
    others.forEach(({ tid }, row) => {
      ofThreads.forEach(([, what], question) => {
        const order = answers.result(row, question);
        if (failed(order)) throw new SysError("kcmp", -order, `threads ${pid} and ${tid}`);
        if (order !== 0) throw refusal("unshared", `process ${pid} (${name}): thread ${tid} has its own ${what}`);
      });
    });
  }
}

/** Syscall user dispatch of every thread. */
export function checkDispatch({ pid, name, frozen }: DumpedProcess): void {
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
