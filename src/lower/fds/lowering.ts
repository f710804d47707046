// SPDX-License-Identifier: Apache-2.0
/** The descriptors' part of a restore program. */
import type { OpenFileRow } from "../../gen/tables.js";
import type { DescriptorLowering, LowerContext } from "../context.js";
import type { Slot } from "../operands.js";
import { openDeadPidfds } from "./dead-pidfds.js";
import { addLateWatches, addWatches } from "./epoll.js";
import { armTimerfd, openEpoll, openEventfd, openSignalfd, openTimerfd } from "./events.js";
import { openInetSocket } from "./inet-sockets.js";
import { isLate, openLate } from "./late-files.js";
import { setAsync, setOwner } from "./owner.js";
import { openPath } from "./paths.js";
import { openPipe } from "./pipes.js";
import { rangesToClose } from "./place.js";
import { AT_FDCWD, badReference, fcntl, FileSlots, openFlags, reopen, setFlags } from "./shared.js";
import { fillUnixSockets, openUnixSockets } from "./unix-sockets.js";

const CLOSE_RANGE_NONE = 0;

/** Makes every open file description once in the first process; tasks inherit them and put them at their numbers. */
export class DescriptorProgram implements DescriptorLowering {
  readonly #slots: FileSlots;
  /** High copies of the caller's standard streams, by number. */
  readonly #streams = new Map<number, Slot>();

  constructor(private readonly context: LowerContext) {
    this.#slots = new FileSlots(context);
  }

  openFiles(): void {
    const { files } = this.context.checkpoint.tables;
    this.#keepStandardStreams();
    const members = (kind: OpenFileRow["kind"]): number[] => files.flatMap((file, index) => (file.kind === kind ? [index] : []));
    files.forEach((file, index) => this.#openOne(file, index));
    openDeadPidfds(this.#slots);
    this.#openPipes(members("pipe"));
    this.#openSockets(members("socket"));
    addWatches(this.#slots, this.#streams);
    this.#finishInFlight();
  }

  /** What only a message holds has no task that would finish it. */
  #finishInFlight(): void {
    this.context.checkpoint.tables.files.forEach((file, index) => {
      const slot = this.#slots.get(index);
      if (slot === undefined || this.#slots.holdersOf(index).length > 0) return;
      if (file.kind === "timerfd") armTimerfd(this.#slots, index, slot);
    });
  }

  placeDescriptors(task: number): void {
    const { builder, checkpoint, firstHighFd } = this.context;
    const rows = checkpoint.descriptorsOf(task).map((index) => checkpoint.tables.descriptors[index]);
    const numbers: number[] = [];
    for (const row of rows) {
      if (row === undefined) continue;
      numbers.push(row.fd);
      const source = this.#sourceOf(row.file, row.fd);
      // late files are opened when the processes of the tree exist
      if (source === undefined) continue;
      builder.syscall("dup3", [source, row.fd, row.flags !== 0 ? openFlags.CLOEXEC : 0], { message: `put a file at fd ${row.fd}` });
    }
    for (const { first, last } of rangesToClose(numbers, firstHighFd)) {
      builder.syscall("close_range", [first, last, CLOSE_RANGE_NONE], { message: "close what the task does not have" });
    }
  }

  finishDescriptors(task: number): void {
    const { checkpoint } = this.context;
    for (const index of checkpoint.descriptorsOf(task)) {
      const row = checkpoint.tables.descriptors[index];
      if (row === undefined) continue;
      const file = this.#slots.file(row.file);
      if (isLate(this.#slots, file)) openLate(this.#slots, row.file, row.fd, row.flags !== 0);
      const [first] = this.#slots.holdersOf(row.file);
      if (first?.task !== task || first.fd !== row.fd) continue;
      if (file.kind === "timerfd") armTimerfd(this.#slots, row.file, row.fd);
      setOwner(this.#slots, row.file, row.fd);
      setAsync(this.#slots, row.file, row.fd);
    }
    addLateWatches(this.#slots, task);
  }

  /** The caller's 0, 1 and 2, as far as the image takes them over or needs their numbers for a moment. */
  #keepStandardStreams(): void {
    const { builder, checkpoint, firstHighFd } = this.context;
    const { files, epollWatches } = checkpoint.tables;
    const needed = new Set<number>();
    files.forEach((file, index) => {
      if (file.kind !== "inherited" && file.kind !== "tty") return;
      needed.add(file.detail ?? 0);
      if (file.kind === "inherited") for (const { fd } of this.#slots.holdersOf(index)) if (fd <= 2) needed.add(fd);
    });
    for (const { fd } of epollWatches) if (fd <= 2) needed.add(fd);
    for (const number of [...needed].sort((a, b) => a - b)) {
      const slot = builder.slot(`standard stream ${number}`);
      const isThere = builder.label("stream is there");
      const isClosed = builder.label("stream is closed");
      builder.syscall("fcntl", [number, fcntl.DUPFD_CLOEXEC, firstHighFd], { store: slot, orElse: isClosed });
      builder.jump(isThere);
      builder.place(isClosed);
      builder.syscall("openat", [AT_FDCWD, builder.string("/dev/null"), openFlags.RDWR | openFlags.CLOEXEC, 0], {
        store: slot,
        message: "open /dev/null",
      });
      this.context.keepHigh(slot);
      builder.place(isThere);
      this.#streams.set(number, slot);
    }
  }

  #openOne(file: OpenFileRow, index: number): void {
    switch (file.kind) {
      case "path":
      case "memfd":
        if (isLate(this.#slots, file)) break;
        openPath(this.#slots, index);
        break;
      case "eventfd":
        openEventfd(this.#slots, index);
        break;
      case "timerfd":
        openTimerfd(this.#slots, index);
        break;
      case "signalfd":
        openSignalfd(this.#slots, index);
        break;
      case "epoll":
        openEpoll(this.#slots, index);
        break;
      case "tty":
        this.#slots.set(index, this.#reopenTerminal(file, index));
        break;
      case "inherited": {
        const stream = this.#streams.get(file.detail ?? 0);
        if (stream) this.#slots.set(index, stream);
        break;
      }
      default:
        // pipes and sockets are made together with their other ends, pidfds elsewhere
        break;
    }
  }

  #reopenTerminal(file: OpenFileRow, index: number): Slot {
    const stream = this.#streams.get(file.detail ?? 0) as Slot;
    return reopen(this.context, stream, file.flags, "the terminal", this.#slots.purposeOf(index));
  }

  #openPipes(members: readonly number[]): void {
    const byPipe = new Map<number, number[]>();
    for (const index of members) {
      const { detail } = this.#slots.file(index);
      if (detail === null) throw badReference("pipes[none]");
      const ends = byPipe.get(detail);
      if (ends) ends.push(index);
      else byPipe.set(detail, [index]);
    }
    for (const ends of byPipe.values()) openPipe(this.#slots, ends);
  }

  #openSockets(members: readonly number[]): void {
    const { sockets } = this.context.checkpoint.tables;
    const holderOf = new Map<number, number>();
    for (const index of members) {
      const { detail } = this.#slots.file(index);
      if (detail === null || sockets[detail] === undefined) throw badReference(`sockets[${detail ?? "none"}]`);
      if (!holderOf.has(detail)) holderOf.set(detail, index);
    }
    const purposeOf = (socket: number): string => {
      const file = holderOf.get(socket);
      return file === undefined ? `for socket ${socket}` : this.#slots.purposeOf(file);
    };
    const state = openUnixSockets(this.#slots, purposeOf);
    const { made } = state;
    sockets.forEach((row, socket) => {
      if (row.family !== 1) made.set(socket, openInetSocket(this.#slots, socket, row, purposeOf(socket)));
    });
    for (const index of members) {
      const file = this.#slots.file(index);
      const slot = made.get(file.detail as number) as Slot;
      this.#slots.set(index, slot);
    }
    fillUnixSockets(state);
    // at last: connecting and accepting were to wait
    for (const index of members) {
      const file = this.#slots.file(index);
      setFlags(this.context, this.#slots.get(index) as Slot, file.flags, this.#slots.purposeOf(index));
    }
  }

  /** Standard streams are the caller's of the same number, so that redirections do what they say. */
  #sourceOf(file: number, fd: number): Slot | undefined {
    const stream = this.#slots.file(file).kind === "inherited" && fd <= 2 ? this.#streams.get(fd) : undefined;
    return stream ?? this.#slots.get(file);
  }
}
