// SPDX-License-Identifier: Apache-2.0
/** VMA status as the 2011 formats store it, in the letters that `crtools -s` printed. */
import { vmaEntryStatusBits } from "../../gen/ckpt-elf-v1.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { statusOfVma } from "../../rfc2011/process-records.js";

const formats: readonly string[] = ["crtools", "ckpt-elf-v1"];

const bits = vmaEntryStatusBits;
const mappingLetters: readonly (readonly [number, string])[] = [
  [bits.file_private, "FP"],
  [bits.file_shared, "FS"],
  [bits.anon_shared, "AS"],
  [bits.anon_private, "AP"],
];
const placeNames: readonly (readonly [number, string])[] = [
  [bits.stack, "stack"],
  [bits.vsyscall, "vsyscall"],
  [bits.vdso, "vdso"],
  [bits.heap, "heap"],
];

/** `AP stack`: kind of mapping, special place. */
export function statusText(status: number): string {
  const named = (table: readonly (readonly [number, string])[]): string =>
    table
      .filter(([bit]) => (status & bit) !== 0)
      .map(([, name]) => name)
      .join("+");
  const regular = (status & bits.regular) !== 0 ? "" : "not dumped";
  return [named(mappingLetters) || "none", named(placeNames), regular].filter((word) => word !== "").join(" ");
}

/** The status of a VMA in letters, or undefined if the checkpoint does not come from a 2011 format. */
export function vma2011Text(checkpoint: Checkpoint, vma: number): string | undefined {
  const source = checkpoint.tables.checkpoint[0]?.sourceFormat ?? "";
  return formats.includes(source) ? statusText(statusOfVma(checkpoint, vma)) : undefined;
}
