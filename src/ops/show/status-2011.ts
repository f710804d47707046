/** VMA status as the 2011 formats store it, in the letters that `crtools -s` printed. */
import { tableSpecs } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";

const vmaTableKind = tableSpecs.find((spec) => spec.table === "vmas")?.kind ?? 0;

// Status bits of vma_entry (ckpt_elf_v1.ksy): 1 stack, 2 vsyscall, 3 vdso, 5 heap; 6..9 the four kinds of mapping.
const mappingLetters: readonly (readonly [number, string])[] = [[6, "FP"], [7, "FS"], [8, "AS"], [9, "AP"]];
const placeNames: readonly (readonly [number, string])[] = [[1, "stack"], [2, "vsyscall"], [3, "vdso"], [5, "heap"]];

/** `AP stack`: kind of mapping, special place. */
export function statusText(status: number): string {
  const has = (bit: number): boolean => ((status >> bit) & 1) === 1;
  const mapping = mappingLetters.filter(([bit]) => has(bit)).map(([, letters]) => letters);
  const places = placeNames.filter(([bit]) => has(bit)).map(([, name]) => name);
  return [has(0) ? "" : "not dumped", mapping.join("+") || "none", places.join("+")].filter((word) => word !== "").join(" ");
}

const cache = new WeakMap<Checkpoint, ReadonlyMap<number, number>>();

/** Status of every VMA of which a 2011 format said one: row → status word. */
function statusRows(checkpoint: Checkpoint): ReadonlyMap<number, number> {
  const known = cache.get(checkpoint);
  if (known !== undefined) return known;
  const rows = new Map<number, number>();
  for (const row of checkpoint.tables.foreign) {
    if (row.table !== vmaTableKind || row.key !== "status" || row.value.length !== 4) continue;
    rows.set(row.row, Buffer.from(row.value).readUInt32LE(0));
  }
  cache.set(checkpoint, rows);
  return rows;
}

/** The status of a VMA in letters, or undefined if no 2011 format said it. */
export function vma2011Text(checkpoint: Checkpoint, vma: number): string | undefined {
  const status = statusRows(checkpoint).get(vma);
  return status === undefined ? undefined : statusText(status);
}
