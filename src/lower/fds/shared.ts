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

/** Lowering state: the slot of every file that has been made in the first process, and the caller's standard streams. */
export class FileSlots {
  readonly repeated: RepeatedOpenings;
  readonly #slots = new Map<number, Slot>();
  readonly #streams = new Map<number, Slot>();
  readonly #holders = new Map<number, { readonly task: number; readonly fd: number }[]>();

  #judged: { readonly row: OpenFileRow; readonly isLate: boolean } | undefined;

  constructor(
    readonly context: LowerContext,
    private readonly kinds: Readonly<Record<FileKind, FileLowering>>,
  ) {
    this.repeated = new RepeatedOpenings(context.builder);
    for (const { task, fd, file } of context.checkpoint.tables.descriptors) {
      const holders = this.#holders.get(file);
      if (holders) holders.push({ task, fd });
      else this.#holders.set(file, [{ task, fd }]);
    }
  }

  set(file: number, slot: Slot): void {
    this.#slots.set(file, slot);
  }

  /** The high descriptor of a file; undefined for those that are opened late. */
  get(file: number): Slot | undefined {
    return this.#slots.get(file);
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
  holdersOf(file: number): readonly { readonly task: number; readonly fd: number }[] {
    return this.#holders.get(file) ?? [];
  }

  file(index: number): OpenFileRow {
    const row = this.context.checkpoint.tables.files[index];
    if (row === undefined) throw badReference(`files[${index}]`);
    return row;
  }

  /** `for fd 8 of task 4711 (redis-server)`. */
  purposeOf(file: number): string {
    const [holder] = this.holdersOf(file);
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
