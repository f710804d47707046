// SPDX-License-Identifier: Apache-2.0
/**
 * Before a dumped tree is killed: make sure that nothing of it stays as a zombie.
 *
 * A killed child whose parent does not wait stays in the process table, and its pid with it; after the parent's death
 * it waits for the first process of the system, which may take its time or (in a container) never come. A resume right
 * after the dump would find the pid taken. So each parent of the tree, which has only its own end before it, first
 * waits for the children that have ended and then ignores SIGCHLD, which makes the kernel release its children as they
 * die (wait(2), "POSIX.1-2001 specifies that if the disposition of SIGCHLD is set to SIG_IGN …").
 */
import type { DumpedProcess } from "./context.js";

const SIGCHLD = 17;
const SIG_IGN = 1n;
const WNOHANG = 1;
const WALL = 0x4000_0000;

/** Lets the children of every process of the tree end without a trace. Best effort: a failure only leaves zombies. */
export function disownChildren(processes: readonly DumpedProcess[]): void {
  const parents = new Set(processes.map((process) => process.frozen.parent));
  for (const process of processes) {
    if (process.frozen.isZombie || !parents.has(process.pid)) continue;
    const injector = process.injector();
    while (injector.call("wait4", -1, 0, WNOHANG | WALL, 0) > 0);
    const action = Buffer.alloc(32);
    action.writeBigUInt64LE(SIG_IGN, 0);
    injector.call("rt_sigaction", SIGCHLD, { in: action }, 0, 8);
  }
}
