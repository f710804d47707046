// SPDX-License-Identifier: Apache-2.0
/** Pidfds of processes that are gone: a process is made for them, and ends before the tree is made. */
import { AT_FDCWD, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Label, Slot } from "../../lower/operands.js";

const SIGKILL = 9;
const PR_SET_PDEATHSIG = 1;
const WAIT_ALL = 0x40000000;
/** struct stat, and st_ino in it. */
const [statLength, inoOffset] = [144, 8];
/** struct clone_args up to cgroup. */
const cloneArgsLength = 88;

/** Opens a pidfd of a process outside the tree, if that is the one that it was, and jumps; else a line tells that it is gone. */
function openOutside(slots: FileSlots, index: number, slot: Slot, done: Label): void {
  const { builder, checkpoint } = slots.context;
  const outside = checkpoint.tables.outsidePidfds.find(({ file }) => file === index);
  if (outside === undefined) return;
  const { pid, ino, bootId } = outside;
  const fd = builder.slot("boot id");
  const found = builder.buffer(40);
  const stat = builder.buffer(statLength);
  const wanted = Buffer.from(bootId, "latin1");
  const gone = builder.label("the process is gone");
  const other = builder.label("the process is another");
  builder.syscall("openat", [AT_FDCWD, builder.string("/proc/sys/kernel/random/boot_id"), openFlags.CLOEXEC, 0], {
    store: fd,
    orElse: gone,
  });
  builder.syscall("read", [fd, found, 36], { expect: "any" });
  builder.syscall("close", [fd]);
  builder.compare(found, builder.bytes(wanted), wanted.length, { orElse: gone });
  builder.syscall("pidfd_open", [pid, slots.file(index).flags & openFlags.NONBLOCK], { store: slot, orElse: gone });
  builder.syscall("fstat", [slot, stat], { message: "examine a pidfd" });
  builder.jumpIf(stat.at(inoOffset).u8, "ne", ino, other);
  builder.jump(done);
  builder.place(other);
  builder.syscall("close", [slot]);
  builder.place(gone);
  builder.outside(() => builder.print(`process ${pid} outside the tree is gone, which a pidfd named ${slots.purposeOf(index)}`));
}

/** Makes one process for each dead one that the pidfds name (by object), and opens all its pidfds. */
export function openDeadPidfds(slots: FileSlots, pidfds: readonly number[]): Map<number, Slot> {
  const opened = new Map<number, Slot>();
  const groups: number[][] = [];
  const byObject = new Map<number, number[]>();
  for (const index of pidfds) {
    const { object } = slots.file(index);
    // Without an object nothing says that two are of one process.
    const known = object === null ? undefined : byObject.get(object);
    if (known) {
      known.push(index);
      continue;
    }
    const members = [index];
    groups.push(members);
    if (object !== null) byObject.set(object, members);
  }
  for (const members of groups) openDead(slots, members, opened);
  return opened;
}

function openDead(slots: FileSlots, members: readonly number[], opened: Map<number, Slot>): void {
  const { context } = slots;
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
    const flags = slots.file(index).flags & openFlags.NONBLOCK;
    const done = builder.label("the pidfd is open");
    openOutside(slots, index, slot, done);
    builder.syscall("pidfd_open", [pid, flags], { store: slot, message: `open a pidfd ${purpose}` });
    builder.place(done);
    context.keepHigh(slot);
    opened.set(index, slot);
  }
  builder.syscall("kill", [pid, SIGKILL], { message: "end the process for dead pidfds" });
  builder.syscall("wait4", [pid, 0, WAIT_ALL, 0], { message: "reap the process for dead pidfds" });
}
