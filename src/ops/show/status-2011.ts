/** VMA status as the 2011 formats store it, in the letters that `crtools -s` printed. */
import { readVmaEntry, vmaEntryStatusBits } from "../../gen/ckpt-elf-v1.js";
import { ByteReader } from "../../bytes/byte-reader.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { ForeignIndex, foreignKeys } from "../../rfc2011/foreign.js";
import { vmaToWire } from "../../rfc2011/vma.js";

const bits = vmaEntryStatusBits;
const mappingLetters = [[bits.file_private, "FP"], [bits.file_shared, "FS"], [bits.anon_shared, "AS"], [bits.anon_private, "AP"]] as const;
const placeNames = [[bits.stack, "stack"], [bits.vsyscall, "vsyscall"], [bits.vdso, "vdso"], [bits.heap, "heap"]] as const;

/** `y AP stack`: whether it is dumped (`vf`), kind of mapping (`st`), special place (`spc`, `n` for none). */
export function statusText(status: number): string {
  const mapping = mappingLetters.filter(([bit]) => (status & bit) !== 0).map(([, letters]) => letters);
  const places = placeNames.filter(([bit]) => (status & bit) !== 0).map(([, name]) => name);
  return `${(status & bits.regular) === 0 ? "n" : "y"} ${mapping.join("+") || "-"} ${places.join("+") || "n"}`;
}

const formats2011: ReadonlySet<string> = new Set(["crtools", "ckpt-elf-v1"]);
const indices = new WeakMap<Checkpoint, ForeignIndex>();

/** The status of a VMA in letters, or undefined if the checkpoint came from no 2011 format. */
export function vma2011Text(checkpoint: Checkpoint, row: number): string | undefined {
  const { tables } = checkpoint;
  if (!formats2011.has(tables.checkpoint[0]?.sourceFormat ?? "")) return undefined;
  const vma = tables.vmas[row];
  if (vma === undefined) return undefined;
  let index = indices.get(checkpoint);
  if (index === undefined) indices.set(checkpoint, (index = new ForeignIndex(tables)));
  // The entry is kept where it says more than the row; otherwise it is what the row is written as.
  const kept = index.get("vmas", row, foreignKeys.vma);
  const entry = kept === undefined ? vmaToWire(vma, undefined, 0) : readVmaEntry(new ByteReader(kept, { source: "vma_entry" }));
  return statusText(entry.status);
}
