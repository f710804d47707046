// SPDX-License-Identifier: Apache-2.0
/** Pipes and FIFOs: both ends, capacity, and the bytes in flight. */
import type { OpenFileRow, PipeRow } from "../../gen/tables.js";
import type { FileLowering } from "../../lower/fds/kind.js";
import { badReference, detailOf, fcntl, type FileSlots, objectOf, openFlags, reopen, setFlags, takeHigh } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

export const lowering: FileLowering = { open: (slots, members) => ({ slots: openPipes(slots, members) }) };

/** Slots by file. */
type Ends = Map<number, Slot>;

/** Both ends of a pipe are made together. */
function openPipes(slots: FileSlots, members: readonly number[]): Ends {
  const byPipe = new Map<number, number[]>();
  for (const index of members) {
    const { detail } = slots.file(index);
    if (detail === null) throw badReference("pipes[none]");
    const ends = byPipe.get(detail);
    if (ends) ends.push(index);
    else byPipe.set(detail, [index]);
  }
  const opened: Ends = new Map();
  for (const ends of byPipe.values()) openPipe(slots, ends, opened);
  return opened;
}

/** Makes a pipe and all files that are ends of it. `members` are the rows of `files` whose detail names the pipe. */
function openPipe(slots: FileSlots, members: readonly number[], opened: Ends): void {
  const [first] = members;
  if (first === undefined) return;
  const pipe = detailOf(slots.context.checkpoint.tables.pipes, slots.file(first), "pipes");
  const isFifo = slots.file(first).object !== null;
  if (isFifo) openFifo(slots, members, pipe, opened);
  else openAnonymous(slots, members, pipe, opened);
}

/** An end as pipe2 makes it: one access mode, and no O_LARGEFILE, which only open(2) adds. */
const isOriginal = (file: OpenFileRow, isWriter: boolean): boolean =>
  (file.flags & openFlags.ACCMODE) === (isWriter ? openFlags.WRONLY : 0) && (file.flags & openFlags.LARGEFILE) === 0;

function openAnonymous(slots: FileSlots, members: readonly number[], pipe: PipeRow, opened: Ends): void {
  const { context } = slots;
  const { builder } = context;
  const purpose = slots.purposeOf(members[0] as number);
  const ends = builder.buffer(8);
  // Not blocking while it is filled: content that does not fit must be an error, not a hang.
  builder.syscall("pipe2", [ends, openFlags.NONBLOCK | openFlags.CLOEXEC], { message: `make a pipe ${purpose}` });
  const reader = takeHigh(context, ends, `read end of pipe ${pipe.ino}`);
  const writer = takeHigh(context, ends.at(4), `write end of pipe ${pipe.ino}`);
  fill(slots, writer, pipe, purpose);
  const taken = new Set<Slot>();
  for (const index of members) {
    const file = slots.file(index);
    const why = slots.purposeOf(index);
    const own = [writer, reader].find((slot) => !taken.has(slot) && isOriginal(file, slot === writer));
    if (own) {
      taken.add(own);
      // without O_NONBLOCK unless it had it
      builder.syscall("fcntl", [own, fcntl.SETFL, file.flags & (openFlags.NONBLOCK | openFlags.DIRECT)], { message: `set flags ${why}` });
      opened.set(index, own);
    } else {
      const again = reopen(context, reader, file.flags | openFlags.NONBLOCK, `pipe ${pipe.ino}`, why);
      clearNonblock(slots, again, file, why);
      opened.set(index, again);
    }
  }
}

function openFifo(slots: FileSlots, members: readonly number[], pipe: PipeRow, opened: Ends): void {
  const { context } = slots;
  const first = members[0] as number;
  const object = objectOf(slots, slots.file(first));
  const purpose = slots.purposeOf(first);
  // An opening for both ends never blocks, and keeps the content while the real ends are opened.
  const keeperFlags = openFlags.RDWR | openFlags.NONBLOCK;
  const keeper = context.openObject(slots.file(first).object as number, keeperFlags, purpose);
  // What is in a FIFO that has a name everybody can see.
  if (object.nlink === 0) fill(slots, keeper, pipe, purpose);
  else context.builder.outside(() => fill(slots, keeper, pipe, purpose));
  for (const index of members) {
    const file = slots.file(index);
    const why = slots.purposeOf(index);
    const again = reopen(context, keeper, file.flags | openFlags.NONBLOCK, object.path, why);
    clearNonblock(slots, again, file, why);
    opened.set(index, again);
  }
}

/** Files are opened with O_NONBLOCK so that nothing waits for the other end; those that had it keep it. */
function clearNonblock(slots: FileSlots, slot: Slot, file: OpenFileRow, purpose: string): void {
  const settable = openFlags.APPEND | openFlags.DIRECT | openFlags.NOATIME | openFlags.NONBLOCK;
  slots.context.builder.syscall("fcntl", [slot, fcntl.SETFL, file.flags & settable], { message: `set flags ${purpose}` });
}

/** Capacity and content. A packet-mode pipe gets its packets one by one. */
function fill(slots: FileSlots, writer: Slot, pipe: PipeRow, purpose: string): void {
  const { context } = slots;
  const { builder } = context;
  if (pipe.capacity > 0) {
    builder.syscall("fcntl", [writer, fcntl.SETPIPE_SZ, pipe.capacity], {
      message: `set the size of a pipe to ${pipe.capacity} bytes ${purpose}`,
      hint: "see /proc/sys/fs/pipe-max-size and pipe-user-pages-soft",
    });
  }
  const message = `fill a pipe ${purpose}`;
  const data = builder.bytes(pipe.data, 1);
  if (pipe.packets.length === 0) {
    if (pipe.data.length > 0) builder.syscall("write", [writer, data, pipe.data.length], { expect: pipe.data.length, message });
    return;
  }
  setFlags(context, writer, openFlags.NONBLOCK | openFlags.DIRECT, purpose);
  let at = 0;
  for (const length of packetLengths(pipe)) {
    builder.syscall("write", [writer, data.at(at), length], { expect: length, message });
    at += length;
  }
  builder.syscall("fcntl", [writer, fcntl.SETFL, openFlags.NONBLOCK], { message });
}

/** Lengths of the packets; one that goes beyond the data is cut there. */
function packetLengths({ packets, data }: PipeRow): number[] {
  const view = new DataView(packets.buffer, packets.byteOffset, packets.byteLength);
  const lengths: number[] = [];
  let left = data.length;
  for (let at = 0; at + 4 <= packets.length && left > 0; at += 4) {
    const length = Math.min(view.getUint32(at, true), left);
    if (length > 0) lengths.push(length);
    left -= length;
  }
  return lengths;
}
