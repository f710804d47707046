// SPDX-License-Identifier: Apache-2.0
/**
 * Anonymous shared memory: made and filled once, in the first process, at a staging address that no task uses. Every
 * task inherits it by fork and takes its windows with mremap(old_size 0), which duplicates a shared mapping.
 */
import { alignUp } from "./align.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { vmaVmFlagsBits as vm } from "../gen/tables.js";
import { type AddressRange, findRoom } from "./address-space.js";
import { MAP, PROT, pageSize } from "./constants.js";
import type { Slot } from "./operands.js";
import { readExtents } from "./page-loading.js";
import type { ProgramBuilder } from "./program-builder.js";

/** Away from the hole, which is sought from the bottom. */
const stagingFrom = 0x10_0000_0000n;

export class StagedMemory {
  /** Row of objects → address. */
  readonly addresses = new Map<number, bigint>();
  readonly range: AddressRange | undefined;

  constructor(
    readonly checkpoint: Checkpoint,
    used: readonly AddressRange[],
  ) {
    const sizes = new Map<number, bigint>();
    for (const vma of checkpoint.tables.vmas) {
      if (vma.kind !== "anon_shared" || vma.object === null) continue;
      const needed = vma.offset + (vma.end - vma.start);
      const known = sizes.get(vma.object) ?? checkpoint.tables.objects[vma.object]?.size ?? 0n;
      sizes.set(vma.object, alignUp(known > needed ? known : needed, pageSize));
    }
    const total = [...sizes.values()].reduce((sum, size) => sum + size + pageSize, 0n);
    if (total === 0n) return;
    const start = findRoom(used, total, stagingFrom);
    let next = start;
    for (const [object, size] of sizes) {
      this.addresses.set(object, next);
      next += size + pageSize;
    }
    this.range = { start, end: next };
  }

  /** Ops of the first process: maps and fills all of it. */
  make(b: ProgramBuilder, imageFd: Slot): void {
    for (const [object, address] of this.addresses) {
      const users = this.checkpoint.tables.vmas.filter((vma) => vma.object === object && vma.kind === "anon_shared");
      const length = users.reduce(
        (most, vma) => max(most, vma.offset + vma.end - vma.start),
        this.checkpoint.tables.objects[object]?.size ?? 0n,
      );
      const flags = users.every((vma) => (vma.vmFlags & vm.nr) !== 0n) ? MAP.noreserve : 0;
      const hugetlb = users.some((vma) => (vma.vmFlags & vm.ht) !== 0n) ? MAP.hugetlb : 0;
      b.syscall(
        "mmap",
        [
          address,
          alignUp(length, pageSize),
          PROT.read | PROT.write,
          MAP.shared | MAP.anonymous | MAP.fixedNoreplace | flags | hugetlb,
          -1,
          0,
        ],
        {
          expect: address,
          message: `make ${length} bytes of shared memory`,
          hint: "there is not enough memory",
        },
      );
      readExtents(b, imageFd, this.checkpoint.extentsOf({ object }), (offset) => address + offset, "shared memory");
    }
  }
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
