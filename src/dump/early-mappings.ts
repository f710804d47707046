// SPDX-License-Identifier: Apache-2.0
/**
 * The mappings of a process with much memory, read before it is frozen. Only smaps tells their flags, and for that the kernel
 * looks at every page: 14 ms for a GiB of small ones. While the process stands still it is only asked whether its mappings are
 * where they were (maps, which looks at no page). What that does not tell, flags that an madvise has changed in between, is looked
 * at when the process runs again: in the fork of it that keeps its memory. If anything differs, the dump begins anew without this.
 */
import { smapsRow } from "../native/index.js";
import { procPath, readShortMaps, readStatus } from "./procfs.js";
import { type Mapping, readMappings, vmFlags } from "./smaps.js";

/** Bytes of memory that are worth it. */
const worth = 64n << 20n;
/** Flags that a fork does not have as its parent has them, or that it has no mapping with. */
const notForked = vmFlags("lo", "lf", "dc", "um", "uw", "ui");

/** What was read before the freeze is not so any more. */
export class StaleMappings extends Error {}

export class EarlyMappings {
  #isTaken = false;

  private constructor(
    readonly pid: number,
    readonly mappings: Mapping[],
    private readonly maps: Buffer,
  ) {}

  /** Reads them. Undefined where that is not worth it, or could not be confirmed. */
  static read(pid: number): EarlyMappings | undefined {
    const status = readStatus(procPath(pid));
    if (kibibytes(status?.get("RssAnon")) << 10n < worth) return undefined;
    const maps = readShortMaps(pid);
    if (maps === undefined) return undefined;
    try {
      const mappings = readMappings(pid);
      const [first] = mappings;
      if (first === undefined || (first.table.summary.flags & notForked) !== 0n) return undefined;
      return new EarlyMappings(pid, mappings, maps);
    } catch {
      return undefined;
    }
  }

  /** While the process stands still: the mappings, if they seem to be the same as before. */
  take(): Mapping[] | undefined {
    const now = readShortMaps(this.pid);
    const locked = kibibytes(readStatus(procPath(this.pid))?.get("VmLck"));
    this.#isTaken = now !== undefined && this.maps.equals(now) && locked === 0n;
    return this.#isTaken ? this.mappings : undefined;
  }

  /**
   * Looks whether they were the same, if they have been taken.
   * @param pid the process, while it stands still, or its fork
   * @throws StaleMappings if not
   */
  confirm(pid: number): void {
    if (!this.#isTaken) return;
    const now = readMappings(pid);
    const [before, after] = [this.mappings[0]?.table, now[0]?.table];
    const isSame =
      before?.names.equals(after?.names ?? Buffer.alloc(0)) === true &&
      now.length === this.mappings.length &&
      now.every((mapping, index) => this.#isAsBefore(mapping, index));
    if (!isSame) throw new StaleMappings("its mappings have changed while it was being frozen");
  }

  #isAsBefore(mapping: Mapping, index: number): boolean {
    const before = this.mappings[index] as Mapping;
    const size = mapping.end - mapping.start;
    // Of a mapping that is full nothing more is asked.
    if (before.anonymous === size && mapping.anonymous !== size) return false;
    return asBefore.every((offset) => wordOf(mapping, offset) === wordOf(before, offset));
  }
}

/** Offsets of words that must not differ in a row; the rest is counters. */
const asBefore = [
  smapsRow.start,
  smapsRow.end,
  smapsRow.how,
  smapsRow.offset,
  smapsRow.minor,
  smapsRow.ino,
  smapsRow.flags,
  smapsRow.pageSize,
];

const wordOf = ({ table, index }: Mapping, offset: number): bigint | undefined => table.words[(index * smapsRow.length + offset) >> 3];

const kibibytes = (text: string | undefined): bigint => BigInt(/^\d+/.exec(text ?? "")?.[0] ?? "0");
