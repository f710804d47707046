// SPDX-License-Identifier: Apache-2.0
/**
 * System V segments. One that is there is the one of the dump if id, key and size say so. It gets the content of the
 * dump if nobody has it attached; if somebody has, and already had at the dump, it is taken as it is, like a file.
 */
import { type SysvSegmentRow, sysvSegmentFlagsBits as bits } from "../../gen/tables.js";
import { IPC, ipcOffset, ipcStructSize, SHM } from "../../linux/sysv-ipc.js";
import { hugeShiftIn, MFD_HUGE_SHIFT } from "../../linux/huge-pages.js";
import { MADV } from "../constants.js";
import type { LowerContext } from "../context.js";
import type { Slot } from "../operands.js";
import { findObject, makeObject, setOwner, systemVName } from "./make.js";

export interface SegmentPlace {
  /** Where it is attached to read and write, and the bytes to be mapped there. */
  readonly address: bigint;
  readonly length: bigint;
  /** Where it is attached to read only, for mappings that may never be written; undefined for none. */
  readonly readOnly: bigint | undefined;
}

/** Ops of the first process: makes or finds the segment, attaches it, and has `fill` read its content where that is to be. */
export function makeSegment(context: LowerContext, row: SysvSegmentRow, place: SegmentPlace, fill: () => void): void {
  const b = context.builder;
  const { id, flags } = row;
  const name = systemVName("shared memory segment", row);
  const has = (bit: number): boolean => (flags & bit) !== 0;
  const isFresh: Slot = b.slot(`content of ${name} is that of the image`);
  const absent = b.label(`${name} is to be made`);
  const there = b.label(`${name} is there`);
  const filled = b.label(`${name} has its content`);
  const size = { at: ipcOffset.shmSize, value: row.size };
  const found = findObject(context, "shm", has(bits.removed) ? { ...row, key: 0 } : row, name, [size], absent);
  b.compute(isFresh, "move", 0);
  if (!has(bits.outside)) {
    const unused = b.label(`nobody has ${name}`);
    b.jumpIf(found.at(ipcOffset.shmAttached).u8, "eq", 0, unused);
    b.fail(`${name} is attached by another process now`, "end that first, or resume in an IPC namespace of its own (unshare --ipc IMAGE)");
    b.place(unused);
    b.compute(isFresh, "move", 1);
    setOwner(context, "shm", row, name, found);
  }
  b.jump(there);
  b.place(absent);
  makeObject(context, "shm", row, name, row.creator, (mode) => makeUnderKey(context, row, name, mode));
  b.compute(isFresh, "move", 1);
  setOwner(context, "shm", row, name, b.buffer(ipcStructSize));
  b.place(there);
  const message = `attach ${name}`;
  b.syscall("shmat", [id, place.address, 0], { expect: place.address, message });
  if (place.readOnly !== undefined) b.syscall("shmat", [id, place.readOnly, SHM.rdonly], { expect: place.readOnly, message });
  b.jumpIf(isFresh, "eq", 0, filled);
  // What a process before left in it, and the image does not have.
  b.syscall("madvise", [place.address, place.length, MADV.remove], { expect: "any" });
  fill();
  if (has(bits.locked))
    b.syscall("shmctl", [id, SHM.lock, 0], { message: `lock ${name} in memory`, hint: "raise the limit on locked memory (ulimit -l)" });
  // It stays for as long as somebody has it attached, which the first process does until the tree does.
  if (has(bits.removed)) b.syscall("shmctl", [id, IPC.rmid, 0], { message: `remove ${name}, which stays while it is attached` });
  b.place(filled);
}

/** A segment that was removed keeps the key that it was made with in its name; another may have that key now. */
function makeUnderKey(context: LowerContext, { key, size, flags, object }: SysvSegmentRow, name: string, mode: number): Slot {
  const b = context.builder;
  const got = b.slot(`new ${name}`);
  const shift = hugeShiftIn(context.checkpoint.tables.objects[object]?.memfdFlags ?? 0);
  const huge = (flags & bits.hugetlb) !== 0 ? (SHM.hugetlb | (shift << MFD_HUGE_SHIFT)) >>> 0 : 0;
  const message = `make ${name} of ${size} bytes`;
  if ((flags & bits.removed) === 0 || key === 0) {
    b.syscall("shmget", [key, size, mode | huge], {
      store: got,
      message,
      hint: "limits on shared memory are sysctls (kernel.shmmax, kernel.shmall, kernel.shmmni)",
    });
    return got;
  }
  const [isTaken, made] = [b.label("its key is taken"), b.label("it is made")];
  b.syscall("shmget", [key, size, mode | huge], { store: got, orElse: isTaken });
  b.jump(made);
  b.place(isTaken);
  b.syscall("shmget", [0, size, mode | huge], { store: got, message });
  b.place(made);
  return got;
}
