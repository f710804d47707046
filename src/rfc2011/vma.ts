// SPDX-License-Identifier: Apache-2.0
/** vma_entry ↔ vmas: status bits, flags, and what the kernel calls its own areas. */
import { CrimgError } from "../errors/crimg-error.js";
import { ByteWriter } from "../bytes/byte-writer.js";
import { type VmaEntry, vmaEntryFlagsBits, vmaEntryStatusBits, writeVmaEntry } from "../gen/ckpt-elf-v1.js";
import { type ObjectRow, type VmaKind, type VmaRow, vmaRow, vmaVmFlagsBits } from "../gen/tables.js";

const status = vmaEntryStatusBits;
/** First address behind user space (TASK_SIZE_MAX with four-level page tables). */
const userEnd = 1n << 47n;

/** What an area is, by its status; what the status leaves open, by its flags and inode. */
export function kindOfEntry(entry: VmaEntry): VmaKind {
  if (entry.status & status.vsyscall) return "vsyscall";
  // [vvar] and [vvar_vclock] carry the bit too, as the loader must not map them: only the vDSO is executable.
  if (entry.status & status.vdso) return entry.prot & 4 ? "vdso" : "vvar";
  if (entry.status & status.file_private) return "file_private";
  if (entry.status & status.file_shared) return "file_shared";
  if (entry.status & status.anon_shared) return "anon_shared";
  if (!(entry.status & status.regular)) return "special";
  return entry.flags & vmaEntryFlagsBits.shared ? "anon_shared" : "anon_private";
}

/** Flags that every mapping has by its protection and kind, as /proc/PID/smaps would show them. */
function vmFlagsOf(entry: VmaEntry, isStack: boolean): bigint {
  const bits = vmaVmFlagsBits;
  let flags = bits.mr | bits.me;
  // Whether a shared mapping that is read-only could become writable, the format does not say: the file may not allow it.
  if (!(entry.status & status.file_shared) || entry.prot & 2) flags |= bits.mw;
  if (entry.prot & 1) flags |= bits.rd;
  if (entry.prot & 2) flags |= bits.wr;
  if (entry.prot & 4) flags |= bits.ex;
  if (entry.flags & vmaEntryFlagsBits.shared) flags |= bits.sh | bits.ms;
  if (isStack) flags |= bits.gd;
  return flags;
}

/** The row of an entry. `object` is the row of its file or shared memory. */
export function vmaFromWire(entry: VmaEntry, kind: VmaKind, mm: number, object: number | null, name: string): VmaRow {
  const isStack = (entry.status & status.stack) !== 0;
  return vmaRow({
    mm,
    kind,
    start: entry.start,
    end: entry.end,
    offset: entry.pgoff,
    prot: entry.prot,
    object,
    vmFlags: kind === "vdso" || kind === "vvar" || kind === "vsyscall" || kind === "special" ? 0n : vmFlagsOf(entry, isStack),
    isHeap: entry.status & status.heap ? 1 : 0,
    isStack: isStack ? 1 : 0,
    name,
  });
}

/** Names of the kernel's own areas: the lowest data area of the vDSO is [vvar], the next [vvar_vclock]. */
export function namesOfEntries(entries: readonly VmaEntry[]): string[] {
  let numVvar = 0;
  return entries.map((entry) => {
    switch (kindOfEntry(entry)) {
      case "vdso":
        return "[vdso]";
      case "vsyscall":
        return "[vsyscall]";
      case "vvar":
        return numVvar++ === 0 ? "[vvar]" : "[vvar_vclock]";
      default:
        return "";
    }
  });
}

/** Whether the kernel of 2011 would be asked to map an area. */
export function isRegular(row: VmaRow): boolean {
  return !(row.kind === "vdso" || row.kind === "vvar" || row.kind === "vsyscall" || row.kind === "special");
}

function statusOf(row: VmaRow): number {
  let bits = isRegular(row) ? status.regular : 0;
  if (row.isStack) bits |= status.stack;
  if (row.isHeap) bits |= status.heap;
  switch (row.kind) {
    case "vsyscall":
      return bits | status.vsyscall | status.anon_private;
    case "vdso":
    case "vvar":
      return bits | status.vdso | status.anon_private;
    case "file_private":
      return bits | status.file_private;
    case "file_shared":
      return bits | status.file_shared;
    case "anon_shared":
      return bits | status.anon_shared;
    default:
      // [vvar_vclock] and other data areas of the vDSO: the loader must leave them to the kernel.
      return bits | status.anon_private | (row.name.startsWith("[vvar") ? status.vdso : 0);
  }
}

/** Private anonymous memory and the kernel's own areas have no offset. */
function hasOffset(row: VmaRow): boolean {
  return row.kind === "file_private" || row.kind === "file_shared" || row.kind === "anon_shared";
}

/** The entry of a row, as the original tool would have written it. */
export function vmaToWire(row: VmaRow, object: ObjectRow | undefined, pid: number): VmaEntry {
  const isShared = row.kind === "file_shared" || row.kind === "anon_shared";
  return {
    start: row.start,
    end: row.end,
    pgoff: hasOffset(row) ? row.offset : 0n,
    prot: row.prot & 7,
    flags: isShared ? vmaEntryFlagsBits.shared : vmaEntryFlagsBits.private,
    status: statusOf(row),
    pid,
    fd: -1n,
    ino: object?.ino ?? 0n,
    devMaj: object?.devMajor ?? 0,
    devMin: object?.devMinor ?? 0,
  };
}

/** The 64 bytes of an entry. */
export function vmaEntryBytes(entry: VmaEntry): Uint8Array {
  const writer = new ByteWriter(64);
  writeVmaEntry(writer, entry);
  return writer.finish();
}

/**
 * Fails unless the areas are page-aligned, not empty, ascending and disjoint.
 * @param placeOf where an entry stands
 * @throws CrimgError `vma.range`
 */
export function assertEntries(
  entries: readonly VmaEntry[],
  placeOf: (index: number) => { source: string; offset: bigint; path: string; format: string },
): void {
  let lowest = 0n;
  entries.forEach((entry, index) => {
    const range = `0x${entry.start.toString(16)}-0x${entry.end.toString(16)}`;
    const place = placeOf(index);
    if (entry.start >= entry.end)
      throw new CrimgError("vma.range", `an area must end behind its start, found ${range}`, { ...place, path: `${place.path}.end` });
    if ((entry.start | entry.end) & 0xfffn)
      throw new CrimgError("vma.range", `an area must begin and end at a multiple of 4096, found ${range}`, place);
    if (entry.end > userEnd && !(entry.status & status.vsyscall))
      throw new CrimgError("vma.range", `an area of a process ends at 0x${userEnd.toString(16)} at the latest, found ${range}`, {
        ...place,
        path: `${place.path}.end`,
      });
    if (entry.start < lowest) {
      throw new CrimgError(
        "vma.range",
        `areas must ascend and not overlap: ${range} begins below 0x${lowest.toString(16)}, the end of the one before`,
        {
          ...place,
          path: `${place.path}.start`,
        },
      );
    }
    if (entry.pgoff & 0xfffn || entry.pgoff >= 1n << 63n) {
      throw new CrimgError("vma.range", `the file offset must be a multiple of 4096 below 2^63, found 0x${entry.pgoff.toString(16)}`, {
        ...place,
        path: `${place.path}.pgoff`,
      });
    }
    lowest = entry.end;
  });
}
