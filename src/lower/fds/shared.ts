// SPDX-License-Identifier: Apache-2.0
/** What the parts of the descriptor lowering share: slots by file row, and words for messages. */
import { CrimgError } from "../../errors/crimg-error.js";
import { AT_FDCWD, openFlags } from "../../linux/open-flags.js";
import type { FileKind, ObjectRow, OpenFileRow } from "../../gen/tables.js";
import type { LowerContext } from "../context.js";
import type { DataRef, Slot } from "../operands.js";
import type { FileLowering } from "./kind.js";
import { RepeatedOpenings } from "./repeated.js";

/** fcntl commands and flags (asm-generic/fcntl.h). */
export const fcntl = { SETFL: 4, SETOWN_EX: 15, SETSIG: 10, DUPFD_CLOEXEC: 1030, SETPIPE_SZ: 1031 } as const;
export { AT_FDCWD, openFlags };
export const errno = { ENOENT: 2, EBADF: 9, EAGAIN: 11, EEXIST: 17, EINVAL: 22, EPERM: 1, ENOTCONN: 107, ECONNREFUSED: 111 } as const;

/** Flags that F_SETFL can change (fcntl(2)); O_ASYNC waits until the owner is set. */
const settableFlags = openFlags.APPEND | openFlags.DIRECT | openFlags.NOATIME | openFlags.NONBLOCK;

/** A number in a task's table. */
export interface Place {
  readonly task: number;
  readonly fd: number;
}

function kindsOf(files: readonly OpenFileRow[]): ReadonlySet<FileKind> {
  const kinds = new Set<FileKind>();
  let last: FileKind | undefined;
  for (let index = 0; index < files.length; index++) {
    const { kind } = files[index] as OpenFileRow;
    if (kind !== last) kinds.add((last = kind));
  }
  return kinds;
}

/** Lowering state: the slot of every file that has been made in the first process, and the caller's standard streams. */
export class FileSlots {
  readonly repeated: RepeatedOpenings;
  /** Kinds of which there are files. */
  readonly kindsThere: ReadonlySet<FileKind>;
  /** By file. */
  readonly #slots: (Slot | undefined)[] = [];
  readonly #streams = new Map<number, Slot>();
  /** By file its first descriptor, by descriptor the next of the same file: rows, counted from 1; 0: none. */
  readonly #first: Int32Array;
  readonly #next: Int32Array;
  readonly #holders = new Map<number, readonly Place[]>();
  readonly #files: readonly OpenFileRow[];
  readonly #descriptors: readonly Place[];

  #judged: { readonly row: OpenFileRow; readonly isLate: boolean } | undefined;

  constructor(
    readonly context: LowerContext,
    private readonly kinds: Readonly<Record<FileKind, FileLowering>>,
  ) {
    this.repeated = new RepeatedOpenings(context.builder);
    const { descriptors, files } = context.checkpoint.tables;
    [this.#files, this.#descriptors] = [files, descriptors];
    this.kindsThere = kindsOf(files);
    const [first, next] = [new Int32Array(files.length), new Int32Array(descriptors.length)];
    // From the last one on, so that they come in table order.
    for (let row = descriptors.length - 1; row >= 0; row--) {
      const { file } = descriptors[row] as Place & { readonly file: number };
      next[row] = first[file] ?? 0;
      first[file] = row + 1;
    }
    [this.#first, this.#next] = [first, next];
  }

  set(file: number, slot: Slot): void {
    this.#slots[file] = slot;
  }

  /** The high descriptor of a file; undefined for those that are opened late. */
  get(file: number): Slot | undefined {
    return this.#slots[file];
  }

  /** True for a file that waits until the processes of the tree exist. */
  isLate(file: number): boolean {
    const row = this.file(file);
    // Files that are alike are often one row.
    if (this.#judged?.row !== row) this.#judged = { row, isLate: this.kinds[row.kind].late?.applies(this, row) ?? false };
    return this.#judged.isLate;
  }

  setStream(number: number, slot: Slot): void {
    this.#streams.set(number, slot);
  }

  /** A high copy of one of the caller's standard streams, if a file asked for it (`streamsNeeded`). */
  stream(number: number): Slot | undefined {
    return this.#streams.get(number);
  }

  /** Tasks and numbers that hold a file, in table order. */
  holdersOf(file: number): readonly Place[] {
    let holders = this.#holders.get(file);
    if (holders === undefined) {
      const found: Place[] = [];
      for (let row = this.#first[file] ?? 0; row > 0; row = this.#next[row - 1] ?? 0) found.push(this.#descriptors[row - 1] as Place);
      this.#holders.set(file, (holders = found));
    }
    return holders;
  }

  /** The first of these; undefined for a file that only a message holds. */
  firstHolder(file: number): Place | undefined {
    const row = this.#first[file] ?? 0;
    return row > 0 ? this.#descriptors[row - 1] : undefined;
  }

  file(index: number): OpenFileRow {
    const row = this.#files[index];
    if (row === undefined) throw badReference(`files[${index}]`);
    return row;
  }

  /** `for fd 8 of task 4711 (redis-server)`. */
  purposeOf(file: number): string {
    const holder = this.firstHolder(file);
    return holder ? `for fd ${holder.fd} of ${this.context.taskSubject(holder.task)}` : `for file ${file}`;
  }
}

/** A reference of the tables that leads nowhere. */
export function badReference(path: string): CrimgError {
  return new CrimgError("lower.reference", `expected a row ${path}, found none`, { path });
}

/** The row that a file's `detail` names. */
export function detailOf<Row>(rows: readonly Row[], file: OpenFileRow, table: string): Row {
  const row = file.detail === null ? undefined : rows[file.detail];
  if (row === undefined) throw badReference(`${table}[${file.detail ?? "none"}]`);
  return row;
}

/** The object that a file names. */
export function objectOf({ context }: FileSlots, file: OpenFileRow): ObjectRow {
  const object = file.object === null ? undefined : context.checkpoint.tables.objects[file.object];
  if (object === undefined) throw badReference(`objects[${file.object ?? "none"}]`);
  return object;
}

/** The flags that open(2) takes to make a description like this. */
export function flagsToOpen(file: OpenFileRow, object: ObjectRow): number {
  let flags =
    file.flags & ~(openFlags.CREAT | openFlags.EXCL | openFlags.TRUNC | openFlags.ASYNC | (openFlags.TMPFILE & ~openFlags.DIRECTORY));
  if (object.kind !== "directory") flags &= ~openFlags.DIRECTORY;
  return flags;
}

/** A slot that holds the s4 of `ref` (as pipe2 and socketpair store descriptors), moved to a high number. */
export function takeHigh(context: LowerContext, ref: DataRef, name: string): Slot {
  const slot = context.builder.slot(name);
  context.builder.compute(slot, "move", ref.s4);
  context.keepHigh(slot);
  return slot;
}

/** Sets the flags of a file that was not made by open(2) with them. */
export function setFlags(context: LowerContext, slot: Slot, flags: number, purpose: string): void {
  const wanted = flags & settableFlags;
  if (wanted === 0) return;
  context.builder.syscall("fcntl", [slot, fcntl.SETFL, wanted], { message: `set flags ${purpose}` });
}

/** Opens the inode of a high descriptor once more: a new description with flags of its own. */
export function reopen(context: LowerContext, slot: Slot, flags: number, name: string, purpose: string): Slot {
  const { builder } = context;
  const path = builder.buffer(40);
  builder.format(path, "/proc/self/fd/", slot);
  const again = builder.slot(name);
  const unwanted = openFlags.CREAT | openFlags.EXCL | openFlags.TRUNC | openFlags.NOFOLLOW | openFlags.ASYNC;
  builder.syscall("openat", [AT_FDCWD, path, (flags & ~unwanted) | openFlags.CLOEXEC | openFlags.NOCTTY, 0], {
    store: again,
    message: `open ${name} ${purpose}`,
  });
  context.keepHigh(again);
  return again;
}
