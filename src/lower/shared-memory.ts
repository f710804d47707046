// SPDX-License-Identifier: Apache-2.0
/**
 * Anonymous shared memory and System V segments: made and filled once, in the first process, at a staging address that no
 * task uses. Every task inherits it by fork and takes its windows with mremap(old_size 0), which duplicates a shared
 * mapping (and counts as attaching it).
 */
import { alignUp } from "./align.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { mappingsOfObject } from "../model/mappings-of-object.js";
import { unlikeRows } from "../model/space-columns.js";
import { CrimgError } from "../errors/crimg-error.js";
import { type SysvSegmentRow, type VmaRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { type AddressRange, findRoom } from "./address-space.js";
import { hugeShiftIn } from "../linux/huge-pages.js";
import { AT, MAP, O, PROT, pageSize } from "./constants.js";
import type { LowerContext } from "./context.js";
import type { Slot } from "./operands.js";
import { inImage, readExtents } from "./page-loading.js";
import { hugeMapFlags } from "./vma-plan.js";
import { makeSegment } from "./sysv/segments.js";

/** Away from the hole, which is sought from the bottom. */
const stagingFrom = 0x10_0000_0000n;

export class StagedMemory {
  /** Row of objects → address. */
  readonly addresses = new Map<number, bigint>();
  /** Segments are attached a second time where some mapping of them may never be written (SHM_RDONLY). */
  readonly #readOnly = new Map<number, bigint>();
  readonly #lengths = new Map<number, bigint>();
  /** Descriptors of shared memory of huge pages. */
  readonly #hugeFds = new Map<number, Slot>();
  readonly #segments: ReadonlyMap<number, SysvSegmentRow>;
  readonly range: AddressRange | undefined;

  constructor(
    readonly checkpoint: Checkpoint,
    used: readonly AddressRange[],
  ) {
    const { objects, sysvSegments, vmas } = checkpoint.tables;
    this.#segments = new Map(sysvSegments.map((segment) => [segment.object, segment]));
    const isReadOnly = new Set<number>();
    const grow = (object: number, size: bigint): unknown =>
      this.#lengths.set(object, alignUp(max(size, this.#lengths.get(object) ?? 0n), this.#pageSizeOf(object)));
    for (const vma of unlikeRows(vmas)) {
      if (vma.kind !== "anon_shared" || vma.object === null) continue;
      grow(vma.object, max(vma.offset + (vma.end - vma.start), objects[vma.object]?.size ?? 0n));
      if (this.#segments.has(vma.object) && !mayWrite(vma)) isReadOnly.add(vma.object);
    }
    // Those that nobody has attached are made as well.
    for (const { object, size } of sysvSegments) grow(object, size);
    // Some is open, or mapped privately, and mapped shared by nobody.
    for (const [object, { kind, size }] of objects.entries()) if (kind === "shared_memory" && size > 0n) grow(object, size);
    const total = [...this.#lengths].reduce(
      (sum, [object, size]) => sum + (size + this.#pageSizeOf(object) + pageSize) * (isReadOnly.has(object) ? 2n : 1n),
      0n,
    );
    if (total === 0n) return;
    const start = findRoom(used, total, stagingFrom);
    let next = start;
    for (const [object, size] of this.#lengths) {
      for (const addresses of isReadOnly.has(object) ? [this.addresses, this.#readOnly] : [this.addresses]) {
        const address = alignUp(next, this.#pageSizeOf(object));
        addresses.set(object, address);
        next = address + size + pageSize;
      }
    }
    this.range = { start, end: next };
  }

  /** Bytes of a page of the object. */
  #pageSizeOf(object: number): bigint {
    const shift = this.#shiftOf(object);
    return shift === 0 ? pageSize : 1n << BigInt(shift);
  }

  #shiftOf(object: number): number {
    const { objects, vmas } = this.checkpoint.tables;
    const shift = hugeShiftIn(objects[object]?.memfdFlags ?? 0);
    return shift === 0 && mappingsOfObject(vmas, object).some((vma) => (vma.vmFlags & vm.ht) !== 0n) ? 21 : shift;
  }

  /**
   * How a mapping of huge pages comes to be, which mremap cannot duplicate: from this descriptor, or, of a System V
   * segment, by attaching it. Undefined for ordinary memory.
   */
  hugeWindowOf(vma: VmaRow): { readonly fd: Slot } | { readonly segment: number } | undefined {
    if (vma.object === null || this.#shiftOf(vma.object) === 0) return undefined;
    const segment = this.#segments.get(vma.object);
    if (segment !== undefined) return { segment: segment.id };
    const fd = this.#hugeFds.get(vma.object);
    return fd === undefined ? undefined : { fd };
  }

  /** Where a mapping's window begins. */
  windowOf(vma: VmaRow): bigint | undefined {
    if (vma.object === null) return undefined;
    const addresses = mayWrite(vma) || !this.#readOnly.has(vma.object) ? this.addresses : this.#readOnly;
    const address = addresses.get(vma.object);
    return address === undefined ? undefined : address + vma.offset;
  }

  /**
   * Ops of the first process: a new open file description of the memory. The kernel gives one only through the mapping, and only to
   * whom it trusts to restore (CAP_CHECKPOINT_RESTORE; proc_pid_get_link of map_files in fs/proc/base.c).
   */
  open({ builder: b }: Pick<LowerContext, "builder">, object: number, flags: number, purpose: string): Slot {
    const start = this.addresses.get(object);
    if (start === undefined) throw new CrimgError("lower.object", `objects[${object}] has no size`, { path: `objects[${object}]` });
    const fd = b.slot("fd of shared memory");
    const range = `${start.toString(16)}-${(start + (this.#lengths.get(object) ?? 0n)).toString(16)}`;
    b.syscall("openat", [AT.fdcwd, b.string(`/proc/self/map_files/${range}`), flags | O.cloexec, 0], {
      store: fd,
      message: `open anonymous shared memory ${purpose}`,
      hint: "that takes CAP_CHECKPOINT_RESTORE (or CAP_SYS_ADMIN): resume as root",
    });
    return fd;
  }

  /** Ops of the first process: maps and fills all of it. */
  make(context: LowerContext): void {
    for (const [object, address] of this.addresses) {
      const length = this.#lengths.get(object) ?? 0n;
      const segment = this.#segments.get(object);
      const fill = (): void =>
        readExtents(
          context.builder,
          inImage(context.imageFd),
          this.checkpoint.extentsOf({ object }),
          (offset) => address + offset,
          segment === undefined ? "shared memory" : `shared memory segment ${segment.id}`,
        );
      if (segment === undefined) this.#mapAnonymous(context, object, address, length);
      else makeSegment(context, segment, { address, length, readOnly: this.#readOnly.get(object) }, fill);
      if (segment !== undefined) continue;
      fill();
      if (this.#shiftOf(object) === 0) continue;
      const fd = this.open(context, object, O.rdwr, "to map its huge pages");
      context.keepHigh(fd);
      this.#hugeFds.set(object, fd);
    }
  }

  #mapAnonymous({ builder: b }: LowerContext, object: number, address: bigint, length: bigint): void {
    const users = mappingsOfObject(this.checkpoint.tables.vmas, object).filter((vma) => vma.kind === "anon_shared");
    const flags = users.length > 0 && users.every((vma) => (vma.vmFlags & vm.nr) !== 0n) ? MAP.noreserve : 0;
    const shift = this.#shiftOf(object);
    const hugetlb = shift === 0 ? 0 : hugeMapFlags(shift);
    b.syscall("mmap", [address, length, PROT.read | PROT.write, MAP.shared | MAP.anonymous | MAP.fixedNoreplace | flags | hugetlb, -1, 0], {
      expect: address,
      message: `make ${length} bytes of shared memory`,
      hint: shift === 0 ? "there is not enough memory" : noHugePages,
    });
  }
}

export const noHugePages = "there are not enough huge pages: sysctl vm.nr_hugepages says how many there are";

/** Formats that know no flags (0) have none that may not be written. */
export function mayWrite({ vmFlags }: VmaRow): boolean {
  return vmFlags === 0n || (vmFlags & vm.mw) !== 0n;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
