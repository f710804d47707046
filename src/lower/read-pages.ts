// SPDX-License-Identifier: Apache-2.0
/**
 * The stored pages of an address space. Much of it is read by two: the task and a helper, a child that shares its
 * memory and ends when its half is read, since most of the time goes into making pages and not into copying.
 */
import { vmaVmFlagsBits as vm } from "../gen/tables.js";
import {
  hugePageSize,
  O,
  UFFD_API,
  UFFD_USER_MODE_ONLY,
  UFFDIO_API,
  UFFDIO_REGISTER,
  UFFDIO_REGISTER_MODE_MISSING,
  WAIT,
} from "./constants.js";
import { bytesOf } from "../model/extent-columns.js";
import type { Slot } from "./operands.js";
import { inImage, longRuns, notByUserfault, readColumns, type StoredColumns, type StoredIn } from "./page-loading.js";
import type { ProcessMaker } from "./process.js";
import type { ProgramBuilder } from "./program-builder.js";
import type { VmaPlan } from "./vma-plan.js";

export interface ReadingParts {
  readonly builder: ProgramBuilder;
  readonly processes: ProcessMaker;
  readonly imageFd: Slot;
  readonly parents: readonly StoredIn[];
  /** An id that no process of the tree has, another at each call. */
  readonly spareId: () => number;
}

/** Bytes from which a helper is worth the making, and pieces: each mapping's first page takes as long as many bytes. */
const worthHelp = 32 << 20;
const manyPieces = 2048;

/** Flags of mappings whose pages are not made by a userfaultfd. */
const neverFilled = notByUserfault | vm.hg;
/** Bytes that are made huge pages to see what that takes: a few are had where many are not. */
const trial = 128n << 20n;

/**
 * Ops of the task: reads stored pages into the mappings.
 * @param large mappings whose pages can be made before they are read, and may be huge ones
 */
export function readPages(parts: ReadingParts, large: readonly VmaPlan[], stored: StoredColumns): void {
  const total = bytesOf(stored);
  const learnt = parts.builder.slot("what huge pages have saved");
  if (total < worthHelp && stored.starts.length < manyPieces) readPart(parts, large, stored, learnt);
  else {
    const { builder: b } = parts;
    const filler = beginFilling(b, large, stored, learnt);
    readInHalves(parts, large, splitAfter(stored, Math.floor(total / 2)), learnt, filler);
    const done = b.label("no userfaultfd has to be closed");
    b.jumpIf(filler, "lt", 0, done);
    b.op("populate", [-1n, 0, 0]);
    b.syscall("close", [filler]);
    b.place(done);
  }
}

/**
 * Ops that find out how pages come: as huge ones if these are quickly had, else by a userfaultfd (which then is in the slot
 * that is returned), else as populate makes them. A mapping is registered whole: a part would be one of its own from then on,
 * and not become one with the rest again.
 */
function beginFilling(b: ProgramBuilder, populable: readonly VmaPlan[], stored: StoredColumns, learnt: Slot): Slot {
  const filler = b.slot("userfaultfd that pages come by");
  const known = b.label("it is known how pages come");
  b.compute(filler, "move", -1n);
  const large = populable.filter(({ vma }) => longRuns(stored, vma.start, vma.end).length > 0);
  const mayHide = large.filter(({ vma }) => (vma.vmFlags & neverFilled) === 0n);
  const [first] = large.flatMap(({ vma }) => longRuns(stored, vma.start, vma.end));
  if (first === undefined || mayHide.length === 0) return filler;
  b.op("populate", [first.address, first.length < trial ? first.length : trial, learnt.address, 1]);
  b.jumpIf(learnt, "ge", 1, known);
  const cannot = b.label("no userfaultfd for pages");
  b.syscall("userfaultfd", [O.cloexec | O.nonblock | UFFD_USER_MODE_ONLY], { store: filler, orElse: known });
  b.syscall("ioctl", [filler, UFFDIO_API, b.u8s(UFFD_API, 0, 0)], { orElse: cannot });
  for (const { vma } of mayHide) {
    const range = b.u8s(vma.start, vma.end - vma.start, UFFDIO_REGISTER_MODE_MISSING, 0);
    b.syscall("ioctl", [filler, UFFDIO_REGISTER, range], { orElse: cannot });
  }
  b.op("populate", [filler, 0, 0]);
  b.jump(known);
  b.place(cannot);
  b.syscall("close", [filler]);
  b.compute(filler, "move", -1n);
  b.place(known);
  return filler;
}

/**
 * Where no helper can be made (a limit, or its id is in use) the task reads both halves. The helper, which
 * runs on into the same ops, is told from a task without one by the slot of its id, which is never negative for it.
 */
function readInHalves(
  parts: ReadingParts,
  large: readonly VmaPlan[],
  [first, second]: readonly [StoredColumns, StoredColumns],
  learnt: Slot,
  filler: Slot,
): void {
  const b = parts.builder;
  const help = b.label("second half of the pages");
  const done = b.label("all pages are read");
  const status = b.buffer(8);
  const helper = parts.processes.helper(parts.spareId(), help);
  readPart(parts, large, first, learnt, filler);
  b.jumpIf(helper, "lt", 0, help);
  b.syscall("wait4", [helper, status, WAIT.wall, 0], { message: "see the helper that reads pages end" });
  b.jumpIf(status.u4, "eq", 0, done);
  b.fail("the helper that reads pages was killed", "there may not be enough memory");
  b.place(help);
  readPart(parts, large, second, learnt, filler);
  b.jumpIf(helper, "lt", 0, done);
  b.syscall("exit", [0]);
  b.place(done);
}

function readPart(
  { builder: b, imageFd, parents }: ReadingParts,
  large: readonly VmaPlan[],
  stored: StoredColumns,
  learnt: Slot,
  filler?: Slot,
): void {
  const come = b.label("pages come as they are read");
  if (filler !== undefined) b.jumpIf(filler, "ge", 0, come);
  for (const { vma } of large) {
    for (const { address, length } of longRuns(stored, vma.start, vma.end)) b.op("populate", [address, length, learnt.address]);
  }
  b.place(come);
  const columns = parents.length === 0 ? { ...stored, sources: undefined } : stored;
  for (const file of [inImage(imageFd), ...parents]) readColumns(b, file, columns, "memory");
}

/** Cuts where a huge page begins, at least `bytes` after the start. */
function splitAfter(stored: StoredColumns, bytes: number): [StoredColumns, StoredColumns] {
  const { starts, lengths } = stored;
  const huge = Number(hugePageSize);
  let left = bytes;
  let index = 0;
  for (; index < starts.length && left > 0; left -= lengths[index++] as number) {
    const address = starts[index] as number;
    const wanted = Math.ceil((address + left) / huge) * huge - address;
    if (wanted < (lengths[index] as number)) return cutWithin(stored, index, wanted);
  }
  return [part(stored, 0, index), part(stored, index, starts.length)];
}

function part({ starts, lengths, offsets, sources }: StoredColumns, from: number, to: number): StoredColumns {
  return {
    starts: starts.subarray(from, to),
    lengths: lengths.subarray(from, to),
    offsets: offsets.subarray(from, to),
    sources: sources?.subarray(from, to),
  };
}

/** Cuts `bytes` behind the beginning of one of them. */
function cutWithin(stored: StoredColumns, index: number, bytes: number): [StoredColumns, StoredColumns] {
  const first = part(stored, 0, index + 1);
  const { sources } = first;
  const [lengths, rest] = [first.lengths.slice(), part(stored, index, stored.starts.length)];
  const [starts, restLengths, offsets] = [rest.starts.slice(), rest.lengths.slice(), rest.offsets.slice()];
  lengths[index] = bytes;
  starts[0] = (starts[0] as number) + bytes;
  restLengths[0] = (restLengths[0] as number) - bytes;
  offsets[0] = (offsets[0] as number) + bytes;
  return [
    { ...first, lengths, sources },
    { starts, lengths: restLengths, offsets, sources: rest.sources },
  ];
}
