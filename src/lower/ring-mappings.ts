// SPDX-License-Identifier: Apache-2.0
/**
 * Mappings of io_uring. The kernel refuses every wish for an address there (io_uring_get_unmapped_area), mremap included; it takes
 * the highest gap that is wide enough, or above its base for mappings the lowest. So whatever else is free is filled for a moment
 * with mappings that need no memory, and the old place is the only one left.
 */
import type { VmaRow } from "../gen/tables.js";
import { type AddressRange, usedRanges } from "./address-space.js";
import { MAP, taskSize } from "./constants.js";
import { type Arg, holeBase, holeEnd, type Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** vm.mmap_min_addr is at most this in practice. */
const lowestAddress = 0x10000n;

export interface RingMapping {
  readonly vma: VmaRow;
  readonly fd: Slot;
  readonly prot: number;
}

/**
 * Ops of a task that has all its other mappings. The hole of the restore is in some gap between them.
 * @param taken what is mapped: the other mappings of the task, and the staging area
 */
export function mapRings(b: ProgramBuilder, rings: readonly RingMapping[], taken: readonly AddressRange[]): void {
  const done: AddressRange[] = [];
  for (const { vma, fd, prot } of rings) {
    const length = vma.end - vma.start;
    const where = `${vma.start.toString(16)}-${vma.end.toString(16)}`;
    const gaps = gapsBetween(usedRanges([...taken, ...done, vma]));
    for (const gap of gaps) fill(b, gap, where);
    b.syscall("mmap", [0, length, prot, MAP.shared, fd, vma.offset], {
      expect: vma.start,
      message: `map an io_uring at ${where}`,
      hint: "nothing else may be free meanwhile: lift a limit on address space (ulimit -v)",
    });
    for (const gap of gaps) clear(b, gap);
    done.push(vma);
  }
}

function gapsBetween(used: readonly AddressRange[]): AddressRange[] {
  const gaps: AddressRange[] = [];
  let start = lowestAddress;
  for (const range of [...used, { start: taskSize, end: taskSize }]) {
    if (range.start > start) gaps.push({ start, end: range.start });
    if (range.end > start) start = range.end;
  }
  return gaps;
}

function fill(b: ProgramBuilder, gap: AddressRange, where: string): void {
  const flags = MAP.private | MAP.anonymous | MAP.noreserve | MAP.fixedNoreplace;
  outsideHole(b, gap, (start, length) =>
    b.syscall("mmap", [start, length, 0, flags, -1, 0], { message: `leave no other place for the io_uring at ${where}` }),
  );
}

function clear(b: ProgramBuilder, gap: AddressRange): void {
  outsideHole(b, gap, (start, length) => b.syscall("munmap", [start, length], { message: "make room again" }));
}

/** Builds ops for a gap, or where the hole is in it, for what is on either side of that. */
function outsideHole(b: ProgramBuilder, { start, end }: AddressRange, build: (start: Arg, length: Arg) => void): void {
  const length = b.slot("length of a gap");
  const [isWhole, isNoneBelow, done] = [b.label("the hole is elsewhere"), b.label("nothing is below the hole"), b.label("the gap is done")];
  b.jumpIf(holeBase, "lt", start, isWhole);
  b.jumpIf(holeBase, "ge", end, isWhole);
  b.compute(length, "sub", holeBase, start);
  b.jumpIf(length, "eq", 0, isNoneBelow);
  build(start, length);
  b.place(isNoneBelow);
  b.compute(length, "sub", end, holeEnd);
  b.jumpIf(length, "eq", 0, done);
  build(holeEnd, length);
  b.jump(done);
  b.place(isWhole);
  build(start, end - start);
  b.place(done);
}
