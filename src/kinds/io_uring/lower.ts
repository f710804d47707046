// SPDX-License-Identifier: Apache-2.0
/**
 * Rings of io_uring. A new ring counts requests and completions from 0, and the kernel keeps counts of its own that nobody can set:
 * as many requests as the old one has had, which do nothing (IORING_OP_NOP is 0, and so are the requests of a new ring), are made
 * before anybody maps it. What the queues hold comes with the memory of the tasks (objects.ts maps it, as that of sockets).
 * A ring of one thread (IORING_SETUP_SINGLE_ISSUER) is that of whoever enables it: this is then done by the first task that has it.
 */
import { register, ringLayout, ringOffset, setUp, sqesLength } from "../../linux/io-uring.js";
import type { IoUringRow } from "../../gen/tables.js";
import { MAP, PROT } from "../../lower/constants.js";
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { detailOf, type FileSlots } from "../../lower/fds/shared.js";
import type { Arg, DataRef, Slot } from "../../lower/operands.js";
import type { ProgramBuilder } from "../../lower/program-builder.js";

/** struct io_uring_params, u4 each: sq_entries, cq_entries, flags; then, in bytes, where its offsets begin. */
const paramsSize = 120;
const offsetOf = { sqTail: 44, cqHead: 80 } as const;

export const lowering: FileLowering = { open: eachAlone(openRing), finish: finishRing };

const rowOf = (slots: FileSlots, index: number): IoUringRow =>
  detailOf(slots.context.checkpoint.tables.ioUrings, slots.file(index), "ioUrings");

const isOfOneThread = ({ flags }: IoUringRow): boolean => (flags & setUp.singleIssuer) !== 0;

function openRing(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder: b } = context;
  const purpose = slots.purposeOf(index);
  const row = rowOf(slots, index);
  const ring = b.slot(`io_uring ${purpose}`);
  const flags = row.flags | setUp.cqsize | (isOfOneThread(row) ? setUp.disabled : 0);
  const params = b.u4s(0, row.cqEntries, flags, ...new Array<number>(paramsSize / 4 - 3).fill(0));
  b.syscall("io_uring_setup", [row.sqEntries, params], {
    store: ring,
    message: `make an io_uring ${purpose}`,
    hint: "io_uring must be permitted (sysctl kernel.io_uring_disabled), and the kernel not much older than that of the dump",
  });
  context.keepHigh(ring);
  if (!isOfOneThread(row)) advance(b, ring, row, offsetsIn(params), purpose);
  return ring;
}

/** Where the tail of the submission queue and the head of the completion queue are. */
interface Offsets {
  readonly sqTail: Arg;
  readonly cqHead: Arg;
}

const offsetsIn = (params: DataRef): Offsets => ({ sqTail: params.at(offsetOf.sqTail).u4, cqHead: params.at(offsetOf.cqHead).u4 });

/** Has a ring that is empty, and whose memory is zero, come to its old position. */
function advance(b: ProgramBuilder, fd: Arg, { position, ...row }: IoUringRow, { sqTail, cqHead }: Offsets, purpose: string): void {
  if (position === 0) return;
  const message = `bring an io_uring to its old position ${purpose}`;
  const { length } = ringLayout(row);
  const [ring, tail, head, done, left, count, result] = ["memory", "tail", "head", "done", "left", "count", "result"].map((name) =>
    b.slot(`${name} of the io_uring ${purpose}`),
  ) as [Slot, Slot, Slot, Slot, Slot, Slot, Slot];
  b.syscall("mmap", [0, length, PROT.read | PROT.write, MAP.shared, fd, ringOffset.rings], { store: ring, message });
  b.compute(tail, "add", ring, sqTail);
  b.compute(head, "add", ring, cqHead);
  b.compute(done, "move", 0);
  b.compute(left, "move", position);
  const [more, isLast, wrong, over] = [b.label("more requests"), b.label("a full queue"), b.label("not all taken"), b.label("all done")];
  b.place(more);
  b.jumpIf(left, "eq", 0, over);
  b.compute(count, "move", row.sqEntries);
  b.jumpIf(left, "ge", count, isLast);
  b.compute(count, "move", left);
  b.place(isLast);
  b.compute(done, "add", done, count);
  b.store4(tail, done);
  b.syscall("io_uring_enter", [fd, count, 0, 0, 0, 0], { store: result, message });
  b.jumpIf(result, "ne", count, wrong);
  // They are read as soon as they are there.
  b.store4(head, done);
  b.compute(left, "sub", left, count);
  b.jump(more);
  b.place(wrong);
  b.fail(`${message}: the kernel took fewer requests`, "report this with the output of `crimg show`");
  b.place(over);
  b.syscall("munmap", [ring, length]);
}

function finishRing(slots: FileSlots, index: number, fd: Arg): void {
  const { builder: b, checkpoint } = slots.context;
  const purpose = slots.purposeOf(index);
  const row = rowOf(slots, index);
  if (isOfOneThread(row)) takeOver(b, fd, row, purpose);
  const buffers = checkpoint.tables.ioUringBuffers.filter(({ file }) => file === index);
  if (buffers.length === 0) return;
  const count = 1 + Math.max(...buffers.map((buffer) => buffer.index));
  const vectors = new BigUint64Array(2 * count);
  for (const buffer of buffers) vectors.set([buffer.address, buffer.length], 2 * buffer.index);
  b.syscall("io_uring_register", [fd, register.buffers, b.bytes(new Uint8Array(vectors.buffer)), count], {
    message: `register the buffers of an io_uring ${purpose}`,
    hint: "they are locked in memory: raise that limit (ulimit -l)",
  });
}

/** The memory of the ring is as it was, but the ring has done nothing: what is in the memory is put aside meanwhile. */
function takeOver(b: ProgramBuilder, fd: Arg, row: IoUringRow, purpose: string): void {
  const message = `take over an io_uring ${purpose}`;
  b.syscall("io_uring_register", [fd, register.enableRings, 0, 0], { message });
  const parts = [
    { offset: ringOffset.rings, length: ringLayout(row).length },
    { offset: ringOffset.sqes, length: sqesLength(row) },
  ].map(({ offset, length }) => ({ offset, length, at: b.slot(message), kept: b.slot(message), zeros: b.slot(message) }));
  for (const { offset, length, at, kept, zeros } of parts) {
    const access = PROT.read | PROT.write;
    b.syscall("mmap", [0, length, access, MAP.shared, fd, offset], { store: at, message });
    b.syscall("mmap", [0, length, access, MAP.private | MAP.anonymous, -1, 0], { store: kept, message });
    b.syscall("mmap", [0, length, access, MAP.private | MAP.anonymous, -1, 0], { store: zeros, message });
    b.copy(kept, at, length);
    b.copy(at, zeros, length);
  }
  // As they have been since there is io_uring.
  advance(b, fd, row, { sqTail: 4, cqHead: 8 }, purpose);
  for (const { length, at, kept, zeros } of parts) {
    b.copy(at, kept, length);
    for (const slot of [at, kept, zeros]) b.syscall("munmap", [slot, length]);
  }
}
