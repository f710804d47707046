// SPDX-License-Identifier: Apache-2.0
/** Command line and environment: NUL-terminated strings at arg_start and env_start of an address space. */
import { decodeText } from "../../src/bytes/text.js";
import type { MmRow } from "../../src/gen/tables.js";
import type { MemoryView } from "../../src/pages/memory-view.js";
import { maxStringBytes } from "./document.js";

export interface ProcessStrings {
  readonly arguments?: readonly string[];
  readonly environment?: readonly string[];
}

/** What the memory holds; a part that is absent, too long or not in the checkpoint is left out. */
export function readProcessStrings(mm: MmRow, memory: MemoryView): ProcessStrings {
  return {
    arguments: stringsAt(memory, mm.argStart, mm.argEnd),
    environment: stringsAt(memory, mm.envStart, mm.envEnd),
  };
}

function stringsAt(memory: MemoryView, start: bigint, end: bigint): readonly string[] | undefined {
  if (start === 0n || end < start || end - start > maxStringBytes) return undefined;
  if (start === end) return [];
  let covered = 0n;
  for (const run of memory.runs(start, end)) if (run.origin.kind !== "absent") covered += run.length;
  if (covered !== end - start) return undefined;
  return splitStrings(memory.read(start, Number(end - start)));
}

/** Strings between NULs; NULs that fill the end are no strings. */
export function splitStrings(bytes: Uint8Array): readonly string[] {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  const strings: string[] = [];
  for (let at = 0; at < end; ) {
    const next = bytes.indexOf(0, at);
    const stop = next < 0 || next > end ? end : next;
    strings.push(decodeText(bytes.subarray(at, stop)));
    at = stop + 1;
  }
  return strings;
}
