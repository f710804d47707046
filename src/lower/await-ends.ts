// SPDX-License-Identifier: Apache-2.0
/**
 * Waits for processes that are about to end to be gone. A dump kills its tree and does not wait until the kernel has
 * freed all memory, which takes a tenth of a second a GiB; until then the old processes keep their pids, ports and
 * sockets, which the new ones need.
 */
import type { Lowering } from "./lowering.js";
import { ERRNO } from "./constants.js";

/** Bound of the wait for each process: tries of 2 ms. What is there after it is in nobody's way, or named as such. */
const tries = 1000;
const pauseNs = 2_000_000n;

/** Ops of the first process; two system calls a task where nothing is in the way. */
export function awaitEnds(l: Lowering): void {
  const b = l.builder;
  const link = b.buffer(8);
  const pause = b.u8s(0n, pauseNs);
  const tried = b.slot("looks at a process that ends");
  const group = b.slot("process group of a process that ends");
  for (const { pid, state } of l.checkpoint.tables.tasks) {
    if (state === "zombie") continue;
    const look = b.label(`look at process ${pid}`);
    const isNotEnding = b.label(`process ${pid} is not about to end`);
    b.compute(tried, "move", 0);
    b.place(look);
    // The first thing that an ending process loses is its memory, and with it the link. Kernel threads have no memory
    // and no process group either; a process that is gone has no group.
    b.syscall("readlink", [b.string(`/proc/${pid}/exe`), link, 8], { expect: -ERRNO.noent, orElse: isNotEnding });
    b.syscall("getpgid", [pid], { store: group, orElse: isNotEnding });
    b.jumpIf(group, "eq", 0, isNotEnding);
    b.syscall("nanosleep", [pause, 0], { expect: "any" });
    b.compute(tried, "add", tried, 1);
    b.jumpIf(tried, "lt", tries, look);
    b.place(isNotEnding);
  }
}
