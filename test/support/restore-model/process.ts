// SPDX-License-Identifier: Apache-2.0
/** Processes and threads of the model. */
import type { Block, Mappings } from "./memory.js";

export interface Descriptor {
  /** The open file description: copies of a descriptor share it. */
  readonly file: { readonly what: string; readonly path?: string; size: bigint; pos: bigint };
  isCloexec: boolean;
}

export class Process {
  exitStatus: number | undefined;
  /** Its parent has waited for it. */
  isReaped = false;
  /** It gets orphans (PR_SET_CHILD_SUBREAPER). */
  isSubreaper = false;
  /** Bytes that ops wrote to its mappings, by address. */
  readonly written = new Map<bigint, Uint8Array>();
  /** Mappings that the restore makes for itself, at addresses that the kernel chooses. */
  readonly own = new Map<bigint, Block>();
  sid: number;
  pgid: number;
  /** Its first parent. */
  readonly maker: Process | undefined;

  constructor(
    readonly pid: number,
    public parent: Process | undefined,
    readonly memory: Block,
    readonly mappings: Mappings,
    readonly descriptors: Map<number, Descriptor>,
  ) {
    this.maker = parent;
    this.sid = parent?.sid ?? pid;
    this.pgid = parent?.pgid ?? pid;
  }

  /** Who gets its children when it ends. */
  get reaper(): Process | undefined {
    let above = this.parent;
    while (above?.parent !== undefined && !above.isSubreaper) above = above.parent;
    return above;
  }

  lowest(from = 0): number {
    let fd = from;
    while (this.descriptors.has(fd)) fd++;
    return fd;
  }

  open(what: string, flags: number, path?: string): number {
    const fd = this.lowest();
    this.descriptors.set(fd, { file: { what, path, size: 0n, pos: 0n }, isCloexec: (flags & 0o2000000) !== 0 });
    return fd;
  }
}

/** What a thread waits for; it is asked again whenever something has happened. */
export type Waiting = () => bigint | undefined;

/** Values that ops are run for (op each). */
export interface Row {
  readonly at: bigint;
  readonly stride: bigint;
  /** Rows that follow it, and the op with which each begins. */
  readonly left: bigint;
  readonly body: number;
}

export class Thread {
  /** Names of the system calls that it made, in order. */
  readonly calls: string[] = [];
  waiting: Waiting | undefined;
  /** It ended, or left the restore. */
  isOver = false;
  /** Not undefined once it gave up privileges: the call that did. */
  unprivileged: string | undefined;
  hasLeft = false;
  /** The row that its ops are run for. */
  row: Row | undefined;
  /** Slots of its own. */
  readonly slots: bigint[] = [];

  constructor(
    readonly process: Process,
    readonly tid: number,
    public pc: number,
  ) {}
}
