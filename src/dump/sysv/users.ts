// SPDX-License-Identifier: Apache-2.0
/** Who uses an object of System V IPC: the kernel remembers only the last process that did something with it. */
import type { DumpContext } from "../context.js";
import { syscallName } from "../../linux/syscall-numbers.js";
import { processExists } from "../procfs.js";
import { getReg, inSyscall } from "../registers.js";

export class SystemVUsers {
  readonly #rows = new Map<number, number>();
  /** Ids that a thread of the tree waits at just now. */
  readonly waitedSets = new Set<number>();
  readonly waitedQueues = new Set<number>();

  constructor(private readonly context: DumpContext) {
    for (const { pid, row, frozen } of context.processes) {
      this.#rows.set(pid, row);
      for (const { regs } of frozen.threads) {
        if (!inSyscall(regs)) continue;
        const call = syscallName(Number(getReg(regs, "origAx")));
        const id = Number(BigInt.asIntN(32, getReg(regs, "di")));
        if (call === "semop" || call === "semtimedop") this.waitedSets.add(id);
        else if (call === "msgsnd" || call === "msgrcv") this.waitedQueues.add(id);
      }
    }
  }

  /** Whether a process, as crimg sees it, is of the tree. Of a namespace of the tree's own, all is the tree's. */
  isOurs(pid: number): boolean {
    return this.context.view.ownsIpc || this.#rows.has(pid);
  }

  /** Whether it lives, and is not of the tree. */
  isOutside(pid: number): boolean {
    return pid > 0 && !this.#rows.has(pid) && processExists(pid);
  }

  /** Its id as the tree sees it; of others as crimg does. */
  asSeen(pid: number): number {
    const row = this.#rows.get(pid);
    return (row === undefined ? undefined : this.context.tables.tasks[row]?.pid) ?? pid;
  }
}

/** Says that an object is not the tree's alone. */
export function tellOutside(context: DumpContext, name: string, how: "attached" | "used"): void {
  context.lose("dump.sysv-outside", `${name} is ${how} by processes outside the tree: where it is still there, it is taken as it is then`);
}

/** Key and id for messages. */
export function systemVName(kind: string, { id, key }: { readonly id: number; readonly key: number }): string {
  return key === 0 ? `${kind} ${id}` : `${kind} ${id} (key 0x${key.toString(16).padStart(8, "0")})`;
}
