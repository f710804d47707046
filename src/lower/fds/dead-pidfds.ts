// SPDX-License-Identifier: Apache-2.0
/** Pidfds of processes that are gone: a process is made for them, and ends before the tree is made. */
import type { LowerContext } from "../context.js";
import { type FileSlots, openFlags } from "./shared.js";

const SIGKILL = 9;
const PR_SET_PDEATHSIG = 1;
const WAIT_ALL = 0x40000000;
/** struct clone_args up to cgroup. */
const cloneArgsLength = 88;

/** Makes one process for each dead one that pidfds of the image name (by object), and opens all its pidfds. */
export function openDeadPidfds(slots: FileSlots): void {
  const { files } = slots.context.checkpoint.tables;
  const groups: number[][] = [];
  const byObject = new Map<number, number[]>();
  files.forEach((file, index) => {
    if (file.kind !== "pidfd" || file.detail !== null) return;
    // Without an object nothing says that two are of one process.
    const known = file.object === null ? undefined : byObject.get(file.object);
    if (known) {
      known.push(index);
      return;
    }
    const members = [index];
    groups.push(members);
    if (file.object !== null) byObject.set(file.object, members);
  });
  for (const members of groups) openDead(slots.context, slots, members);
}

function openDead(context: LowerContext, slots: FileSlots, members: readonly number[]): void {
  const { builder } = context;
  const pid = builder.slot("process for dead pidfds");
  const parent = builder.label("parent of it");
  // No signal at its end: the first process has children of its own to wait for.
  builder.syscall("clone3", [builder.u8s(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), cloneArgsLength], {
    store: pid,
    message: "make a process for dead pidfds",
  });
  builder.jumpIf(pid, "ne", 0, parent);
  builder.syscall("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0], { expect: "any" });
  builder.syscall("poll", [0, 0, -1], { expect: "any" });
  builder.syscall("exit_group", [0]);
  builder.place(parent);
  for (const index of members) {
    const purpose = slots.purposeOf(index);
    const slot = builder.slot(`dead pidfd ${purpose}`);
    builder.syscall("pidfd_open", [pid, slots.file(index).flags & openFlags.NONBLOCK], { store: slot, message: `open a pidfd ${purpose}` });
    context.keepHigh(slot);
    slots.set(index, slot);
  }
  builder.syscall("kill", [pid, SIGKILL], { message: "end the process for dead pidfds" });
  builder.syscall("wait4", [pid, 0, WAIT_ALL, 0], { message: "reap the process for dead pidfds" });
}
