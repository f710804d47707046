// SPDX-License-Identifier: Apache-2.0
/**
 * The stored pages of an address space. Much of it is read by two: the task and a helper, a child that shares its
 * memory and ends when its half is read, since most of the time goes into making pages and not into copying.
 */
import type { ExtentRow } from "../gen/tables.js";
import { alignUp } from "./align.js";
import { PROT, WAIT, hugePageSize } from "./constants.js";
import type { Slot } from "./operands.js";
import { inImage, longRuns, readExtents, type StoredIn } from "./page-loading.js";
import type { ProcessMaker } from "./process.js";
import type { ProgramBuilder } from "./program-builder.js";
import type { VmaPlan } from "./vma-plan.js";

type Extent = Pick<ExtentRow, "address" | "length" | "fileOffset" | "source">;

export interface ReadingParts {
  readonly builder: ProgramBuilder;
  readonly processes: ProcessMaker;
  readonly imageFd: Slot;
  readonly parents: readonly StoredIn[];
  /** An id that no process of the tree has, another at each call. */
  readonly spareId: () => number;
}

/** Bytes from which a helper is worth the making. */
const worthHelp = 32n << 20n;

/** Ops of the task: reads the extents (ascending, disjoint) into the mappings that `plans` made. */
export function readPages(parts: ReadingParts, plans: readonly VmaPlan[], extents: readonly Extent[]): void {
  const total = extents.reduce((sum, { length }) => sum + length, 0n);
  if (total < worthHelp) readPart(parts, plans, extents);
  else readInHalves(parts, plans, splitAfter(extents, total / 2n));
}

/**
 * Where no helper can be made (a limit, or its id is in use) the task reads both halves. The helper, which
 * runs on into the same ops, is told from a task without one by the slot of its id, which is never negative for it.
 */
function readInHalves(
  parts: ReadingParts,
  plans: readonly VmaPlan[],
  [first, second]: readonly [readonly Extent[], readonly Extent[]],
): void {
  const b = parts.builder;
  const help = b.label("second half of the pages");
  const done = b.label("all pages are read");
  const status = b.buffer(8);
  const helper = parts.processes.helper(parts.spareId(), help);
  readPart(parts, plans, first);
  b.jumpIf(helper, "lt", 0, help);
  b.syscall("wait4", [helper, status, WAIT.wall, 0], { message: "see the helper that reads pages end" });
  b.jumpIf(status.u4, "eq", 0, done);
  b.fail("the helper that reads pages was killed", "there may not be enough memory");
  b.place(help);
  readPart(parts, plans, second);
  b.jumpIf(helper, "lt", 0, done);
  b.syscall("exit", [0]);
  b.place(done);
}

function readPart({ builder: b, imageFd, parents }: ReadingParts, plans: readonly VmaPlan[], extents: readonly Extent[]): void {
  const learnt = b.slot("what huge pages have saved");
  for (const { vma, loadProt, source, isSeparate } of plans) {
    if (source !== "mmap" || vma.kind !== "anon_private" || isSeparate || (loadProt & PROT.write) === 0) continue;
    for (const { address, length } of longRuns(extents, vma.start, vma.end)) b.op("populate", [address, length, learnt.address]);
  }
  for (const file of [inImage(imageFd), ...parents]) {
    const own = parents.length === 0 ? extents : extents.filter(({ source }) => source === file.source);
    readExtents(b, file, own, (address) => address, "memory");
  }
}

/** Cuts where a huge page begins, at least `bytes` after the start. */
function splitAfter(extents: readonly Extent[], bytes: bigint): [Extent[], Extent[]] {
  const first: Extent[] = [];
  const second: Extent[] = [];
  let left = bytes;
  for (const extent of extents) {
    const { address, length, fileOffset, source } = extent;
    const wanted = left <= 0n ? 0n : alignUp(address + left, hugePageSize) - address;
    if (wanted >= length) first.push(extent);
    else if (wanted === 0n) second.push(extent);
    else {
      first.push({ address, length: wanted, fileOffset, source });
      second.push({ address: address + wanted, length: length - wanted, fileOffset: fileOffset + wanted, source });
    }
    left -= length;
  }
  return [first, second];
}
