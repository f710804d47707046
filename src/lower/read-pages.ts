// SPDX-License-Identifier: Apache-2.0
/**
 * The stored pages of an address space. Much of it is read by two: the task and a helper, a child that shares its
 * memory and ends when its half is read, since most of the time goes into making pages and not into copying. Where thousands of
 * mappings are cut out of others by their protection, which takes as long as to read a page for each, the task does that meanwhile.
 */
import { vmaVmFlagsBits as vm } from "../gen/tables.js";
import {
  hugePageSize,
  O,
  pageSize,
  UFFD_API,
  UFFD_USER_MODE_ONLY,
  UFFDIO_API,
  UFFDIO_REGISTER,
  UFFDIO_REGISTER_MODE_MISSING,
  WAIT,
} from "./constants.js";
import { firstWhere } from "../model/ascending.js";
import { bytesOf } from "../model/extent-columns.js";
import { protectRanges } from "./mapping-runs.js";
import type { Slot } from "./operands.js";
import { inImage, longRuns, notByUserfault, readColumns, type StoredColumns, type StoredIn } from "./page-loading.js";
import type { ProcessMaker } from "./process.js";
import type { ProgramBuilder } from "./program-builder.js";
import type { ProtectedSoon } from "./space-plan.js";
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

const bytesOfPage = Number(pageSize);

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

/** Each reads one half. */
function readInHalves(
  parts: ReadingParts,
  large: readonly VmaPlan[],
  [first, second]: readonly [StoredColumns, StoredColumns],
  learnt: Slot,
  filler: Slot,
): void {
  byTwo(
    parts,
    () => readPart(parts, large, first, learnt, filler),
    () => readPart(parts, large, second, learnt, filler),
  );
}

/**
 * Ops that a task and its helper do at the same time. Where no helper can be made (a limit, or its id is in use) the task does both.
 * The helper, which runs on into the same ops, is told from a task without one by the slot of its id, which is never negative for it.
 */
function byTwo({ builder: b, processes, spareId }: ReadingParts, ofTask: () => void, ofHelper: () => void): void {
  const help = b.label("what the helper does");
  const done = b.label("all pages are read");
  const status = b.buffer(8);
  const helper = processes.helper(spareId(), help);
  ofTask();
  b.jumpIf(helper, "lt", 0, help);
  b.syscall("wait4", [helper, status, WAIT.wall, 0], { message: "see the helper that reads pages end" });
  b.jumpIf(status.u4, "eq", 0, done);
  b.fail("the helper that reads pages was killed", "there may not be enough memory");
  b.place(help);
  ofHelper();
  b.jumpIf(helper, "lt", 0, done);
  b.syscall("exit", [0]);
  b.place(done);
}

/** Ranges from which on it is worth to protect them while pages are read, and ranges and pieces after which the other one is told. */
const manyRanges = 512;
const wordsOfStep = 2 * 128;
/** What it takes to protect a range, and to read a page, ns. */
const [protectNs, readNs] = [2900, 2200];

/** Whether `readWhileProtecting` is quicker than to protect afterwards. More than that is read in other ways. */
export function isWorthProtecting({ words }: ProtectedSoon, stored: StoredColumns): boolean {
  return words.length >= 2 * manyRanges && stored.starts.length >= manyRanges && bytesOf(stored) < worthHelp;
}

/**
 * Ops of the task: reads stored pages and protects mappings that have none. Whoever protects holds a lock of the address space, so
 * the helper touches pages before it reads them: such a fault waits for the lock only where the very mapping is being changed, and the
 * helper stays behind the task. Stored pages and ranges ascend.
 */
export function readWhileProtecting(parts: ReadingParts, large: readonly VmaPlan[], stored: StoredColumns, soon: ProtectedSoon): void {
  const { builder: b } = parts;
  const learnt = b.slot("what huge pages have saved");
  const total = bytesOf(stored);
  // From here on what is protected stays accounted (mprotect_fixup in the kernel), and of one piece for whoever joins mappings.
  for (const page of soon.pages) b.store4(page, 0);
  const ownBytes = Math.max(0, Math.floor((total - ((soon.words.length / 2) * protectNs * bytesOfPage) / readNs) / 2));
  const [first, second] = ownBytes === 0 ? [stored, part(stored, 0, 0)] : splitAfter(stored, total - ownBytes);
  const steps = Array.from({ length: Math.ceil(soon.words.length / wordsOfStep) }, (_, step) =>
    soon.words.slice(step * wordsOfStep, (step + 1) * wordsOfStep),
  );
  const counter = b.counter("parts that are protected");
  byTwo(
    parts,
    () => {
      for (const words of steps) {
        protectRanges(b, words, 0);
        b.count(counter);
      }
      readPart(parts, large, second, learnt, undefined, true);
    },
    () => {
      let from = 0;
      for (const [step, words] of steps.entries()) {
        const end = words.at(-1) as number;
        const to =
          step === steps.length - 1 ? first.starts.length : firstWhere(first.starts.length, (at) => (first.starts[at] as number) >= end);
        if (to === from) continue;
        b.wait(counter, step + 1);
        readPart(parts, large, part(first, from, to), learnt, undefined, true);
        from = to;
      }
    },
  );
}

function readPart(
  { builder: b, imageFd, parents }: ReadingParts,
  large: readonly VmaPlan[],
  stored: StoredColumns,
  learnt: Slot,
  filler?: Slot,
  touches = false,
): void {
  const come = b.label("pages come as they are read");
  if (filler !== undefined) b.jumpIf(filler, "ge", 0, come);
  for (const { vma } of large) {
    for (const { address, length } of longRuns(stored, vma.start, vma.end)) b.op("populate", [address, length, learnt.address]);
  }
  b.place(come);
  const columns = parents.length === 0 ? { ...stored, sources: undefined } : stored;
  for (const file of [inImage(imageFd), ...parents]) readColumns(b, file, columns, "memory", touches);
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
