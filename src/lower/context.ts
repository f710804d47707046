// SPDX-License-Identifier: Apache-2.0
/**
 * What the parts of the lowering share. `src/lower/fds` implements `DescriptorLowering`:
 *
 * - `openFiles()` adds ops of the first process, before any fork: every open file description is made once, at a high
 *   descriptor number (`keepHigh`) whose slot it remembers. Forks inherit them, so sharing comes naturally.
 * - `placeDescriptors(task)` adds ops of that task after its children were forked and its memory is mapped: `dup3` to
 *   its numbers (all below `firstHighFd`), FD_CLOEXEC as recorded. Afterwards the lowering closes everything at and
 *   above `firstHighFd` with close_range, and fds that the task must not have below are to be closed here as well
 *   (the first process may have been started with any).
 * - `finishThread(thread)` adds ops of a thread that is not the leader, before it gives up its credentials: what names it.
 * - `finishDescriptors(task)` adds ops at the end, when every task of the tree exists and has its descriptors, but
 *   before the credentials are given up: epoll_ctl, F_SETOWN and the like.
 */
import type { ObjectRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Arg, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

export interface DescriptorLowering {
  openFiles(): void;
  placeDescriptors(task: number): void;
  finishDescriptors(task: number): void;
  /** Whether the first process has something to do (`settle`) when every task has its descriptors. */
  readonly hasSettling: boolean;
  /** Ops of the first process then; what the restore had open is closed, but for what was kept for this. */
  settle(): void;
  /** A high descriptor of the terminal of the tree's own that is the controlling terminal of a session. */
  controllingTerminal(session: number): Slot | undefined;
  finishThread(thread: number): void;
  /** The high descriptor of a mapped socket or io_uring, by the object that stands for it, once files are open. */
  mapped(object: ObjectRow): Slot | undefined;
}

/** Who makes a call whose maker the kernel remembers (the peer of a unix socket). */
export interface Identity {
  /** As the tree sees it; 0 if nobody knows. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, u4 each; undefined if unknown. */
  readonly groups: Uint8Array | undefined;
}

export interface LowerContext {
  readonly checkpoint: Checkpoint;
  readonly builder: ProgramBuilder;
  /** Descriptors at and above this number exist only during the restore. */
  readonly firstHighFd: number;
  /** Holds the descriptor of the image itself, for payload that is read or sent from it. */
  readonly imageFd: Slot;
  /**
   * Moves the descriptor in a slot to a high number: F_DUPFD_CLOEXEC, close, and the slot holds the new number.
   * For system calls that store descriptors elsewhere (pipe2, socketpair), load them into slots first.
   */
  keepHigh(fd: Slot): void;
  /** Keeps the descriptor in a slot for `settle`, under a name; `lastOf` is the slot that holds it then. */
  keepLast(fd: Slot, key: number | Slot): void;
  lastOf(key: number | Slot): Slot | undefined;
  /**
   * Opens an object of the model for the first process and returns the slot of its (high) descriptor. Each call makes a
   * new open file description; ghosts and memfds are created and filled once, whatever number of calls.
   * Checks that the file is there and, where `isMapped`, that it is unchanged. `flags` as for open(2).
   * `purpose` ends the message, such as `for fd 8 of task 4711 (redis-server)`.
   */
  openObject(object: number, flags: number, purpose: string): Slot;
  /** Ops: the file that `openObject` opened may be used as it is now, by the policy that holds for it (--files). */
  checkOpened(fd: Slot, object: number, purpose: string): void;
  /**
   * Ops of the first process, before any fork: what `build` adds is run by a process with that identity, which shares
   * memory and descriptors with the first and is gone afterwards. Where it cannot be had (its id is in use, or there is
   * no privilege) the first process does it.
   */
  runAs(identity: Identity, build: () => void): void;
  /**
   * Descriptors that the first process keeps to the end: `build` adds ops of it with their numbers then, when every thread
   * is about to run and nothing can fail that is not its own fault.
   */
  untilEnd(slots: readonly Slot[], build: (fds: readonly number[]) => void): void;
  /** `task 4711 (redis-server)`. */
  taskSubject(task: number): string;
  /** The task's process id as its siblings see it: an immediate, or what the kernel gave with --pid any. */
  taskPid(task: number): Arg;
  /** The same of a thread, once it exists. */
  threadId(thread: number): Arg;
}
