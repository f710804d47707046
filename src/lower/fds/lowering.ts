// SPDX-License-Identifier: Apache-2.0
/** The descriptors' part of a restore program: what is the same for files of every kind. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { FileKind, ObjectRow, OpenFileRow } from "../../gen/tables.js";
import { ringName } from "../../linux/io-uring.js";
import type { DescriptorLowering, LowerContext } from "../context.js";
import { type Arg, leastRows, ofRow, rowId, type Slot } from "../operands.js";
import type { ProgramBuilder } from "../program-builder.js";
import type { FileLowering } from "./kind.js";
import { fileLowerings } from "./kinds.js";
import { openLate } from "./late-files.js";
import { takeLease, takeLocks } from "./locks.js";
import { setAsync, setOwner, setThreadOwner } from "./owner.js";
import { rangesToClose } from "./place.js";
import { AT_FDCWD, fcntl, FileSlots, openFlags } from "./shared.js";

const CLOSE_RANGE_NONE = 0;

/** Makes every open file description once in the first process; tasks inherit them and put them at their numbers. */
export class DescriptorProgram implements DescriptorLowering {
  readonly #slots: FileSlots;

  constructor(
    private readonly context: LowerContext,
    private readonly kinds: Readonly<Record<FileKind, FileLowering>> = fileLowerings,
  ) {
    this.#slots = new FileSlots(context, kinds);
  }

  openFiles(): void {
    this.#keepStandardStreams();
    const members = new Map<FileKind, number[]>();
    const { files } = this.context.checkpoint.tables;
    // Files that are alike are often one row.
    let [row, ofKind]: [OpenFileRow?, number[]?] = [];
    for (let index = 0; index < files.length; index++) {
      if (files[index] !== row) {
        row = files[index] as OpenFileRow;
        ofKind = undefined;
        if (!this.#slots.isLate(index)) {
          ofKind = members.get(row.kind) ?? [];
          members.set(row.kind, ofKind);
        }
      }
      if (ofKind !== undefined) ofKind.push(index);
    }
    const opened = (Object.keys(this.kinds) as FileKind[]).map((kind) => this.#openKind(kind, members.get(kind) ?? []));
    for (const { complete } of opened) complete?.();
    this.#finishInFlight();
  }

  /** @throws CrimgError `lower.unopened` for a file that its kind left without a slot: a task would silently lack it */
  #openKind(kind: FileKind, members: readonly number[]): ReturnType<FileLowering["open"]> {
    const opened = this.kinds[kind].open(this.#slots, members);
    const isKept = this.kinds[kind].settle !== undefined;
    for (let at = 0; at < members.length; at++) {
      const index = members[at] as number;
      const slot = opened.slots.get(index);
      if (slot === undefined) {
        throw new CrimgError("lower.unopened", `nothing opens the ${kind} ${this.#slots.purposeOf(index)}`, { path: `files[${index}]` });
      }
      this.#slots.set(index, slot);
      if (isKept) this.context.keepLast(slot, slot);
    }
    return opened;
  }

  /** What only a message holds has no task that would finish it. */
  #finishInFlight(): void {
    if (!this.#someKind(({ finish }) => finish !== undefined)) return;
    this.context.checkpoint.tables.files.forEach((file, index) => {
      const slot = this.#slots.get(index);
      if (slot === undefined || this.#slots.firstHolder(index) !== undefined) return;
      this.kinds[file.kind].finish?.(this.#slots, index, slot);
    });
  }

  /** Whether there are files of a kind of which something is true. */
  #someKind(isSo: (lowering: FileLowering) => boolean): boolean {
    return [...this.#slots.kindsThere].some((kind) => isSo(this.kinds[kind]));
  }

  get hasSettling(): boolean {
    return this.#someKind(({ settle }) => settle !== undefined);
  }

  settle(): void {
    this.context.checkpoint.tables.files.forEach(({ kind }, index) => {
      const opened = this.#slots.get(index);
      const slot = opened === undefined ? undefined : this.context.lastOf(opened);
      if (slot !== undefined) this.kinds[kind].settle?.(this.#slots, index, slot);
    });
  }

  controllingTerminal(session: number): Slot | undefined {
    for (const { controllingTerminal } of Object.values(this.kinds)) {
      const slot = controllingTerminal?.(this.#slots, session);
      if (slot !== undefined) return slot;
    }
    return undefined;
  }

  mapped({ path, ino }: ObjectRow): Slot | undefined {
    const { files, sockets, ioUrings } = this.context.checkpoint.tables;
    const [wanted, rows] = path === ringName ? (["io_uring", ioUrings] as const) : (["socket", sockets] as const);
    const file = files.findIndex(({ kind, detail }) => kind === wanted && detail !== null && rows[detail]?.ino === ino);
    return file < 0 ? undefined : this.#slots.get(file);
  }

  placeDescriptors(task: number): void {
    const { builder, checkpoint, firstHighFd } = this.context;
    const { descriptors } = checkpoint.tables;
    const indices = checkpoint.descriptorsOf(task);
    const numbers: number[] = [];
    const [plain, cloexec]: [Placed, Placed] = [new Placed(), new Placed()];
    // Files that are alike are often one row.
    let [file, sourceAt]: [OpenFileRow?, FileLowering["sourceAt"]?] = [];
    for (let at = 0; at < indices.length; at++) {
      const row = descriptors[indices[at] as number];
      if (row === undefined) continue;
      numbers.push(row.fd);
      const own = this.#slots.file(row.file);
      if (own !== file) {
        file = own;
        ({ sourceAt } = this.kinds[own.kind]);
      }
      const source = (sourceAt === undefined ? undefined : sourceAt(this.#slots, row.file, row.fd)) ?? this.#slots.get(row.file);
      // late files are opened when the processes of the tree exist
      if (source !== undefined) (row.flags !== 0 ? cloexec : plain).add(row.fd, source);
    }
    putAll(builder, plain, 0);
    putAll(builder, cloexec, openFlags.CLOEXEC);
    for (const { first, last } of rangesToClose(numbers, firstHighFd)) {
      builder.syscall("close_range", [first, last, CLOSE_RANGE_NONE], { message: "close what the task does not have" });
    }
  }

  finishDescriptors(task: number): void {
    const { checkpoint } = this.context;
    // Files that are alike are often one row.
    let plain: OpenFileRow | undefined;
    for (const index of checkpoint.descriptorsOf(task)) {
      const row = checkpoint.tables.descriptors[index];
      if (row === undefined) continue;
      const file = this.#slots.file(row.file);
      if (file === plain) continue;
      if (this.#isPlain(file)) {
        plain = file;
        continue;
      }
      const { late, finish } = this.kinds[file.kind];
      // What is open already is not late.
      if (late !== undefined && this.#slots.get(row.file) === undefined && late.applies(this.#slots, file))
        openLate(this.#slots, late, row.file, row.fd, row.flags !== 0);
      const first = this.#slots.firstHolder(row.file);
      if (first?.task !== task || first.fd !== row.fd) continue;
      finish?.(this.#slots, row.file, row.fd);
      takeLease(this.#slots, row.file, row.fd);
      setOwner(this.#slots, row.file, row.fd);
      setAsync(this.#slots, row.file, row.fd);
    }
    for (const { finishTask } of Object.values(this.kinds)) finishTask?.(this.#slots, task);
    takeLocks(this.#slots, task);
  }

  /** Whether nothing is left to do once such a file has its number. */
  #isPlain(file: OpenFileRow): boolean {
    const { late, finish } = this.kinds[file.kind];
    const isSet = file.ownerSignal !== 0 || file.ownerType !== "none" || (file.flags & openFlags.ASYNC) !== 0;
    if (finish !== undefined || isSet || late?.applies(this.#slots, file) === true) return false;
    return !this.context.checkpoint.tables.fileLocks.some(({ kind }) => kind === "lease");
  }

  finishThread(thread: number): void {
    setThreadOwner(this.#slots, thread);
  }

  /** The caller's 0, 1 and 2, as far as the image takes them over or needs their numbers for a moment. */
  #keepStandardStreams(): void {
    const { builder, checkpoint, firstHighFd } = this.context;
    if (!this.#someKind(({ streamsNeeded }) => streamsNeeded !== undefined)) return;
    const needed = new Set(
      checkpoint.tables.files.flatMap((file, index) => this.kinds[file.kind].streamsNeeded?.(this.#slots, index) ?? []),
    );
    for (const number of [...needed].sort((a, b) => a - b)) {
      const slot = builder.slot(`standard stream ${number}`);
      const isThere = builder.label("stream is there");
      const isClosed = builder.label("stream is closed");
      if (number > 2) {
        builder.syscall("fcntl", [number, fcntl.DUPFD_CLOEXEC, firstHighFd], {
          store: slot,
          message: `take over descriptor ${number} of the caller`,
          hint: `have it open: ${number}<FILE in a shell`,
        });
        this.#slots.setStream(number, slot);
        continue;
      }
      builder.syscall("fcntl", [number, fcntl.DUPFD_CLOEXEC, firstHighFd], { store: slot, orElse: isClosed });
      builder.jump(isThere);
      builder.place(isClosed);
      builder.syscall("openat", [AT_FDCWD, builder.string("/dev/null"), openFlags.RDWR | openFlags.CLOEXEC, 0], {
        store: slot,
        message: "open /dev/null",
      });
      this.context.keepHigh(slot);
      builder.place(isThere);
      this.#slots.setStream(number, slot);
    }
  }
}

/** Files and the numbers that they get. */
class Placed {
  readonly fds: number[] = [];
  readonly sources: Slot[] = [];

  add(fd: number, source: Slot): void {
    this.fds.push(fd);
    this.sources.push(source);
  }
}

/** Puts files at their numbers, in any order: none is the source of another. */
function putAll(builder: ProgramBuilder, { fds, sources }: Placed, flags: number): void {
  const put = (source: Arg, fd: Arg, name: string | number): void => {
    builder.syscall("dup3", [source, fd, flags], { message: `put a file at fd ${name}` });
  };
  if (fds.length < leastRows) {
    for (const [index, fd] of fds.entries()) put(sources[index] as Slot, fd, fd);
    return;
  }
  const rows = new Uint32Array(2 * fds.length);
  for (let index = 0; index < fds.length; index++) {
    rows[2 * index] = fds[index] as number;
    rows[2 * index + 1] = (sources[index] as Slot).index;
  }
  builder.forRows(rows, 2, () => put(ofRow(1, "slot"), ofRow(0), rowId));
}
