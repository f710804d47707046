// SPDX-License-Identifier: Apache-2.0
/**
 * A lazy resume: the program runs before its private memory is there. Each task registers what is missing with a userfaultfd
 * and sends that to the pager (native/interp/pager.h), which answers faults from the image, fills in the rest, and ends.
 *
 * What the kernel can page that way is anonymous private memory. Read before, as always, is everything else, and
 *
 * - pages that the kernel writes or reads by itself when a thread ends: it would not wait for the pager then;
 * - what the program had locked in memory, and what a fork passes on as zeros (MADV_WIPEONFORK), of which the pager is not told;
 * - pages that a child shares with its parent, so that they are shared again;
 * - small areas, which are read sooner than registered.
 *
 * When the last descriptor of a userfaultfd is closed, what is missing reads as zeros, and the kernel closes those of a process
 * before it tells anybody of its end. So no single process may be the pager: a second, the keeper, shares its table of
 * descriptors. If either ends too early, the other kills the program and stays until its memory is gone.
 */
import { type ExtentRow, type VmaRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { lazyRunSize, lazySpaceSize, memoryModeValues, optionSlotValues } from "../gen/restore-program.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { firstWhere } from "../model/ascending.js";
import { extentColumns } from "../model/extent-columns.js";
import { columnsOf } from "../model/space-columns.js";
import { chunkSize } from "../model/stored-chunks.js";
import type { SharedRange } from "../model/shared-pages.js";
import { CLONE, O, PR, UFFD_API, UFFDIO_API, UFFDIO_REGISTER, UFFDIO_REGISTER_MODE_MISSING, WAIT, pageSize } from "./constants.js";
import { clip, type Inheritance, subtract } from "./inheritance.js";
import type { DataRef, Label, Shared, Slot } from "./operands.js";
import { columnsOfExtents, notByUserfault, rangesOf, runsOf } from "./page-loading.js";
import type { ProcessMaker } from "./process.js";
import type { ProgramBuilder } from "./program-builder.js";

/** Stored bytes from which a mapping, and an address space, are worth it. */
const leastOfMapping = 64n << 10n;
const leastOfSpace = 1n << 20n;

/** Flags of mappings that are read before. */
const neverLazy = notByUserfault | vm.wf;

/** What the pager wants to be told: EVENT_FORK, EVENT_REMAP, EVENT_REMOVE, EVENT_UNMAP. */
const events = (1n << 1n) | (1n << 2n) | (1n << 3n) | (1n << 6n);

const [SOL_SOCKET, SCM_RIGHTS, AF_UNIX, SOCK_SEQPACKET] = [1, 1, 1, 5];
/** MSG_NOSIGNAL. */
const noSignal = 0x4000;
/** Descriptors of the pager and its keeper (paging.h knows them). */
const pagerFd = { image: 3, socket: 4 } as const;

/** What of an address space comes later. */
export interface LazySpace {
  /** Place among the spaces of the pager, in the order of `spaces`. */
  readonly number: number;
  /** Ascending, disjoint. */
  readonly ranges: readonly SharedRange[];
}

export class LazyMemory {
  /** Not 0 if the program is to run before its memory is there; known when `start` is done. */
  readonly isLazy: Slot;
  readonly spaces = new Map<number, LazySpace>();
  readonly #b: ProgramBuilder;
  /** Leads to the pager, which begins with what nobody waits for when all that lead there are closed; negative if there is none. */
  readonly socket: Slot;
  readonly #keeper: Shared;
  readonly #pager: Shared;
  /** The errno for which the pager gave up. */
  readonly failure: Shared;

  private constructor(
    private readonly checkpoint: Checkpoint,
    b: ProgramBuilder,
    private readonly imageFd: Slot,
  ) {
    this.#b = b;
    this.isLazy = b.slot("is lazy");
    this.socket = b.slot("fd that leads to the pager");
    this.#keeper = b.endingPid("keeper of the pager");
    this.#pager = b.endingPid("pager");
    this.failure = b.counter("why the pager gave up");
  }

  /** Undefined where there is too little to be worth it. */
  static of(
    checkpoint: Checkpoint,
    b: ProgramBuilder,
    imageFd: Slot,
    inheritance: ReadonlyMap<number, Inheritance>,
  ): LazyMemory | undefined {
    // The pager serves from one file.
    if (checkpoint.tables.parents.length > 0) return undefined;
    const plans = new Map<number, LazySpace>();
    for (const [task, { mm, state }] of checkpoint.tables.tasks.entries()) {
      if (mm === null || state === "zombie") continue;
      const ranges = lazyRanges(checkpoint, task, mm, inheritance);
      const bytes = ranges.length === 0 ? 0n : sizeOf(storedIn(checkpoint.extentsOf({ mm }), ranges));
      if (bytes >= leastOfSpace) plans.set(mm, { number: plans.size, ranges });
    }
    if (plans.size === 0) return undefined;
    const lazy = new LazyMemory(checkpoint, b, imageFd);
    for (const [mm, plan] of plans) lazy.spaces.set(mm, plan);
    return lazy;
  }

  /** Ops of the process that makes the tree, before it opens anything for it: the pager, if it is wanted and possible. */
  start(processes: ProcessMaker, spareId: () => number, keepHigh: (fd: Slot) => void): void {
    const b = this.#b;
    const done = b.label("it is known how memory comes");
    const cannot = b.label("no lazy resume");
    const wanted = b.label("a lazy resume");
    b.compute(this.socket, "move", -1n);
    unlessLazy(this.checkpoint, b, done);
    const probe = this.#userfault(cannot);
    b.syscall("close", [probe]);
    b.jump(wanted);
    b.place(cannot);
    b.print("all memory is read before the program runs: a lazy resume needs CAP_SYS_PTRACE, outside of user namespaces, and userfaultfd");
    b.jump(done);
    b.place(wanted);
    const ends = b.buffer(8);
    const served = b.slot("fd that the pager serves");
    b.syscall("socketpair", [AF_UNIX, SOCK_SEQPACKET | O.cloexec, 0, ends], { message: "make a socket for the pager" });
    b.compute(served, "move", ends.u4);
    b.compute(this.socket, "move", ends.at(4).u4);
    keepHigh(served);
    keepHigh(this.socket);
    const keeper = b.label("keeper of the pager");
    processes.auxiliary(spareId(), 0, this.#keeper, keeper);
    b.syscall("close", [served]);
    b.compute(this.isLazy, "move", 1);
    b.jump(done);
    b.place(keeper);
    b.about("pager", () => this.#keep(processes, spareId(), served));
    b.place(done);
  }

  /** Ops of the keeper, and of the pager that it makes. Nothing of the caller stays open: neither terminal nor directory. */
  #keep(processes: ProcessMaker, pid: number, served: Slot): void {
    const b = this.#b;
    const pager = b.label("pager");
    const result = b.slot("how the pager ended");
    b.syscall("setsid", [], { expect: "any" });
    b.syscall("chdir", [b.string("/")], { expect: "any" });
    b.syscall("prctl", [PR.setName, b.string("crimg-keeper"), 0, 0, 0], { expect: "any" });
    b.syscall("dup3", [this.imageFd, pagerFd.image, O.cloexec], { message: "keep the image" });
    b.syscall("dup3", [served, pagerFd.socket, O.cloexec], { message: "keep a socket" });
    b.syscall("close_range", [0, pagerFd.image - 1, 0]);
    b.syscall("close_range", [pagerFd.socket + 1, 0xffff_ffff, 0]);
    processes.auxiliary(pid, CLONE.files, this.#pager, pager);
    b.op("keep", [this.#pager.u4], { store: result });
    b.syscall("exit_group", [result]);
    b.place(pager);
    // Not of the keeper's session: a signal for one of them is none for the other.
    b.syscall("setsid", [], { expect: "any" });
    b.syscall("prctl", [PR.setName, b.string("crimg-pager"), 0, 0, 0], { expect: "any" });
    b.op("page", [pagerFd.image, pagerFd.socket, this.#table(), this.spaces.size, b.noVerify, this.failure]);
    b.syscall("exit_group", [0]);
  }

  /** Records `lazy_space`, and what they point to. */
  #table(): DataRef {
    const b = this.#b;
    const rows: bigint[] = [];
    const places: DataRef[] = [];
    for (const [mm, { ranges }] of this.spaces) {
      // Whole chunks, since a checksum is one of a chunk; what is not missing in them is told apart.
      const stored = this.checkpoint.extentsOf({ mm }).flatMap((extent) => chunksAround(extent, ranges));
      const runs = runsOf(stored);
      const ofRuns = runs.map(({ start, parts }) => ({ start, ...b.pieces(start, parts, (address) => address) }));
      const runRows = records(
        b,
        ofRuns.flatMap(({ start, count }) => [start, 0n, BigInt(count)]),
      );
      ofRuns.forEach(({ at }, index) => b.pointer(runRows.at(lazyRunSize * index + 8), at));
      const there = stored.flatMap(({ address, length }) => subtract({ start: address, end: address + length }, ranges));
      const thereRows = records(
        b,
        there.flatMap(({ start, end }) => [start, end]),
      );
      const counts = BigInt(runs.length) | (BigInt(there.length) << 32n);
      rows.push(0n, 0n, counts, BigInt(ofRuns.reduce((sum, { count }) => sum + count, 0)));
      places.push(runRows, thereRows);
    }
    const spaces = records(b, rows);
    places.forEach((place, index) => b.pointer(spaces.at(lazySpaceSize * (index >> 1) + 8 * (index & 1)), place));
    return spaces;
  }

  /** Ops of a task that has its mappings: what of them is missing is the pager's from here on. */
  register(mm: number, task: Shared): void {
    const space = this.spaces.get(mm);
    if (space === undefined) return;
    const b = this.#b;
    const eager = b.label("all memory is there");
    b.jumpIf(this.isLazy, "eq", 0, eager);
    const fd = this.#userfault();
    for (const { start, end } of this.#mappingsOf(mm, space)) {
      b.syscall("ioctl", [fd, UFFDIO_REGISTER, b.u8s(start, end - start, UFFDIO_REGISTER_MODE_MISSING, 0)], {
        message: `have ${start.toString(16)}-${end.toString(16)} paged`,
        hint: "--eager reads all memory before the program runs",
      });
    }
    const own = b.slot("pidfd of the task");
    b.syscall("pidfd_open", [task.u4, 0], { store: own, message: "open the task" });
    const control = b.u4s(24, 0, SOL_SOCKET, SCM_RIGHTS, 0, 0);
    b.store4(control.at(16), fd);
    b.store4(control.at(20), own);
    const header = b.u8s(0, 0, b.u8s(b.u8s(space.number), 8), 1, control, 24, 0);
    b.syscall("sendmsg", [this.socket, header, noSignal], { expect: 8, message: "have the pager serve the task" });
    b.syscall("close", [own]);
    b.syscall("close", [fd]);
    b.place(eager);
  }

  /** Ops of the first process when the program was killed: why, if it was by the pager. */
  tellFailure(): void {
    const b = this.#b;
    const none = b.label("the pager did not give up");
    const checksum = b.label("a checksum is wrong");
    b.jumpIf(this.failure.u4, "eq", 0, none);
    b.jumpIf(this.failure.u4, "eq", 74, checksum);
    b.print("the program was killed, because its memory could not be read from the image any more");
    b.jump(none);
    b.place(checksum);
    b.print("the program was killed, because stored bytes of its memory are damaged (crimg validate says where)");
    b.place(none);
  }

  /** Ops of the first process, when a child has ended: it may be the keeper. */
  reap(): void {
    const b = this.#b;
    const none = b.label("there is no keeper");
    b.jumpIf(this.#keeper.u4, "eq", 0, none);
    b.syscall("wait4", [this.#keeper.u4, 0, WAIT.nohang, 0], { expect: "any" });
    b.place(none);
  }

  /** Whole mappings: a part would be one of its own from then on. */
  #mappingsOf(mm: number, { ranges }: LazySpace): VmaRow[] {
    return rowsOf(this.checkpoint, mm).filter((row) => clip(ranges, row).length > 0);
  }

  #userfault(orElse?: Label): Slot {
    const b = this.#b;
    const fd = b.slot("userfaultfd");
    const message = "page memory by a userfaultfd";
    b.syscall("userfaultfd", [O.cloexec | O.nonblock], { store: fd, ...(orElse === undefined ? { message } : { orElse }) });
    b.syscall("ioctl", [fd, UFFDIO_API, b.u8s(UFFD_API, events, 0)], orElse === undefined ? { message } : { orElse });
    return fd;
  }
}

/** Ops that jump where no lazy resume is wanted. */
function unlessLazy({ tables }: Checkpoint, b: ProgramBuilder, target: Label): void {
  const option = b.slots[optionSlotValues.memory];
  if (option === undefined) throw new Error("no slot for --lazy");
  if (tables.checkpoint[0]?.isLazy === 1) b.jumpIf(option, "eq", memoryModeValues.eager, target);
  else b.jumpIf(option, "ne", memoryModeValues.lazy, target);
  // A rehearsal looks at every page.
  b.jumpIf(b.rehearsal, "ne", 0, target);
}

/** Ops that say, to whom it matters, why there is no lazy resume. */
export function sayEager(checkpoint: Checkpoint, b: ProgramBuilder, why: string): void {
  const done = b.label("no lazy resume");
  unlessLazy(checkpoint, b, done);
  b.print(`all memory is read before the program runs: ${why}`);
  b.place(done);
}

/** Words of 8 bytes. */
function records(b: ProgramBuilder, words: readonly bigint[]): DataRef {
  return b.bytes(new Uint8Array(BigInt64Array.from(words).buffer));
}

/** What of an address space can come later. */
function lazyRanges(checkpoint: Checkpoint, task: number, mm: number, inheritance: ReadonlyMap<number, Inheritance>): SharedRange[] {
  // Of tens of thousands of small ones none may be.
  const large = largeMappings(checkpoint, mm);
  if (large.length === 0) return [];
  const columns = extentColumns(checkpoint);
  const { starts, ends } = columns === undefined ? rangesOf(columnsOfExtents(checkpoint.extentsOf({ mm }))) : rangesOf(columns);
  const kept = inheritance.get(task)?.kept;
  const isLazy = (row: VmaRow): boolean =>
    row.kind === "anon_private" &&
    (row.vmFlags & neverLazy) === 0n &&
    kept?.has(row) !== true &&
    bytesStoredIn(starts, ends, row) >= Number(leastOfMapping);
  const rows = large.filter(isLazy);
  if (rows.length === 0) return [];
  const there = [
    ...pagesOfKernel(checkpoint, task),
    ...pagesThatSeparate(checkpoint, mm),
    ...sharedWithChildren(checkpoint, task, inheritance),
  ];
  there.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const ranges = joined(there);
  return rows.flatMap((row) => subtract({ start: row.start, end: row.end }, ranges));
}

function largeMappings(checkpoint: Checkpoint, mm: number): VmaRow[] {
  const space = columnsOf(checkpoint, mm);
  const { starts, ends, count } = space;
  const least = Number(leastOfMapping);
  const large: VmaRow[] = [];
  for (let index = 0; index < count; index++) {
    if ((ends[index] as number) - (starts[index] as number) >= least) large.push(space.row(index));
  }
  return large;
}

/** What the kernel uses at the end of a thread, when it does not wait for a pager. */
function pagesOfKernel(checkpoint: Checkpoint, task: number): SharedRange[] {
  const areas = checkpoint.threadsOf(task).flatMap((index) => {
    const { clearChildTid, robustListHead, robustListLen, rseqAddress, rseqSize } = checkpoint.tables.threads[index] ?? {
      clearChildTid: 0n,
      robustListHead: 0n,
      robustListLen: 0n,
      rseqAddress: 0n,
      rseqSize: 0,
    };
    return [
      { at: clearChildTid, size: 4n },
      { at: robustListHead, size: robustListLen },
      { at: rseqAddress, size: BigInt(rseqSize) },
    ];
  });
  return areas.filter(({ at }) => at !== 0n).map(({ at, size }) => ({ start: at & -pageSize, end: ((at + size) | (pageSize - 1n)) + 1n }));
}

/** First pages of neighbours that would be one mapping but for pages of their own (VmaPlan.isSeparate). */
function pagesThatSeparate(checkpoint: Checkpoint, mm: number): SharedRange[] {
  const rows = rowsOf(checkpoint, mm);
  return rows
    .filter((row, index) => rows[index - 1]?.end === row.start || rows[index + 1]?.start === row.end)
    .map(({ start }) => ({ start, end: start + pageSize }));
}

function sharedWithChildren({ tables }: Checkpoint, task: number, inheritance: ReadonlyMap<number, Inheritance>): SharedRange[] {
  return [...inheritance].filter(([child]) => tables.tasks[child]?.parent === task).flatMap(([, { shared }]) => shared);
}

/** Ascending ranges without overlaps. */
function joined(ranges: readonly SharedRange[]): SharedRange[] {
  const result: { start: bigint; end: bigint }[] = [];
  for (const { start, end } of ranges) {
    const last = result.at(-1);
    if (last !== undefined && start <= last.end) last.end = end > last.end ? end : last.end;
    else result.push({ start, end });
  }
  return result;
}

type Stored = Pick<ExtentRow, "address" | "length" | "fileOffset">;

/** The parts of extents that lie in ranges. */
export function storedIn(extents: readonly Stored[], ranges: readonly SharedRange[]): Stored[] {
  return extents.flatMap(({ address, length, fileOffset }) =>
    clip(ranges, { start: address, end: address + length }).map(({ start, end }) => ({
      address: start,
      length: end - start,
      fileOffset: fileOffset + (start - address),
    })),
  );
}

/** Bytes of ascending ranges that lie in a mapping; there may be many of both. */
function bytesStoredIn(starts: Float64Array, ends: Float64Array, { start, end }: SharedRange): number {
  const [low, high] = [Number(start), Number(end)];
  let sum = 0;
  for (let index = firstWhere(starts.length, (at) => (ends[at] as number) > low); index < starts.length; index++) {
    const from = starts[index] as number;
    if (from >= high) break;
    sum += Math.min(ends[index] as number, high) - Math.max(from, low);
  }
  return sum;
}

/** The chunks of an extent that something in the ranges belongs to, as few parts of it as they are together. */
function chunksAround({ address, length, fileOffset }: Stored, ranges: readonly SharedRange[]): Stored[] {
  const [first, last] = [address, address + length];
  const around = clip(ranges, { start: first, end: last }).map(({ start, end }) => {
    const [from, to] = [start & -chunkSize, ((end - 1n) | (chunkSize - 1n)) + 1n];
    return { start: from > first ? from : first, end: to < last ? to : last };
  });
  return joined(around).map(({ start, end }) => ({ address: start, length: end - start, fileOffset: fileOffset + (start - first) }));
}

function sizeOf(extents: readonly Stored[]): bigint {
  return extents.reduce((sum, { length }) => sum + length, 0n);
}

function rowsOf(checkpoint: Checkpoint, mm: number): VmaRow[] {
  return checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
}
