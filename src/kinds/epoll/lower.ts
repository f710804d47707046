// SPDX-License-Identifier: Apache-2.0
/** Items of epoll sets. An item belongs to a number and a description; the number need not be open any more. */
import type { EpollWatchRow } from "../../gen/tables.js";
import type { FileLowering } from "../../lower/fds/kind.js";
import { type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Arg, Slot } from "../../lower/operands.js";

const EPOLL_CTL_ADD = 1;
/** Bits of the events that epoll_ctl takes; the kernel shows more (internal ones). */
const eventMask = 0xf000_ffff;

export const lowering: FileLowering = {
  open: (slots, members) => ({
    slots: new Map(members.map((file) => [file, openEpoll(slots, file)])),
    complete: () => addWatches(slots),
  }),
  // Items are added under their numbers, which may be those of the caller's streams for a moment.
  streamsNeeded: ({ context }, file) =>
    context.checkpoint.tables.epollWatches.flatMap(({ epoll, fd }) => (epoll === file && fd <= 2 ? [fd] : [])),
  finishTask: addLateWatches,
};

/** _IOW(0x8A, 1, struct epoll_params) */
const EPIOCSPARAMS = 0x40088a01;

/** An empty set. */
function openEpoll(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder, checkpoint } = context;
  const purpose = slots.purposeOf(index);
  const slot = builder.slot(`epoll set ${purpose}`);
  builder.syscall("epoll_create1", [openFlags.CLOEXEC], { store: slot, message: `make an epoll set ${purpose}` });
  context.keepHigh(slot);
  for (const { epoll, busyPollUsecs, busyPollBudget, preferBusyPoll } of checkpoint.tables.epollParameters) {
    if (epoll !== index) continue;
    const parameters = builder.u4s(busyPollUsecs, busyPollBudget | (preferBusyPoll << 16));
    builder.syscall("ioctl", [slot, EPIOCSPARAMS, parameters], {
      message: `set the busy polling of an epoll set ${purpose}`,
      hint: "this needs Linux 6.9, and CAP_NET_ADMIN for a budget above 64",
    });
  }
  return slot;
}

/** True if the item is added in the first process; items on late files wait until these are open. */
const isEarly = (slots: FileSlots, watch: EpollWatchRow): boolean => watch.file !== null && !slots.isLate(watch.file);

/** Adds the items of all epoll sets in the first process: each file is put at the number of its item for the moment. */
function addWatches(slots: FileSlots): void {
  const { context } = slots;
  const { builder } = context;
  for (const watch of context.checkpoint.tables.epollWatches) {
    if (!isEarly(slots, watch)) continue;
    const epoll = slots.get(watch.epoll);
    const file = slots.get(watch.file as number);
    if (epoll === undefined || file === undefined) continue;
    const purpose = slots.purposeOf(watch.epoll);
    builder.syscall("dup3", [file, watch.fd, 0], { message: `put a file at fd ${watch.fd} for the epoll set ${purpose}` });
    add(slots, watch, epoll, purpose);
    builder.syscall("close", [watch.fd]);
    const stream = slots.stream(watch.fd);
    if (stream !== undefined) builder.syscall("dup3", [stream, watch.fd, 0], { message: `put fd ${watch.fd} back` });
  }
}

/** Adds the items on late files to sets that `task` holds together with the file. */
function addLateWatches(slots: FileSlots, task: number): void {
  const { tables } = slots.context.checkpoint;
  for (const watch of tables.epollWatches) {
    if (isEarly(slots, watch) || watch.file === null) continue;
    const [owner] = slots
      .holdersOf(watch.file)
      .filter((holder) => slots.holdersOf(watch.epoll).some((other) => other.task === holder.task));
    if (owner?.task !== task) continue;
    const epoll = slots.holdersOf(watch.epoll).find((holder) => holder.task === task);
    if (epoll && owner.fd === watch.fd) add(slots, watch, epoll.fd, slots.purposeOf(watch.epoll));
  }
}

function add({ context }: FileSlots, watch: EpollWatchRow, epoll: Arg, purpose: string): void {
  const { builder } = context;
  // struct epoll_event is packed: u4 events, u8 data
  const event = new Uint8Array(12);
  const view = new DataView(event.buffer);
  view.setUint32(0, (watch.events & eventMask) >>> 0, true);
  view.setBigUint64(4, watch.data, true);
  builder.syscall("epoll_ctl", [epoll, EPOLL_CTL_ADD, watch.fd, builder.bytes(event)], { message: `watch fd ${watch.fd} ${purpose}` });
}
