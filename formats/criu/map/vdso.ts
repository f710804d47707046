// SPDX-License-Identifier: Apache-2.0
/**
 * A restore reads the symbols of the saved vDSO from its pages. The model has no extents of it, because the kernel
 * provides it, but its bytes (SPEC 5.128); else, if this kernel's vDSO is the same, its pages are used.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { tableSpecs } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import { storedVdso } from "../../../src/model/vdso-image.js";
import type { PageSource } from "../../../src/model/page-source.js";
import { BufferPageSource } from "../../../src/pages/buffer-source.js";
import { formatId } from "../foreign/foreign.js";
import { pageFlag } from "../pages/page-flags.js";
import type { MapRun } from "../pages/write-pages.js";

/** Foreign row of an address space with the pages of its vDSO, if they are others than those of the model. */
export const vdsoKey = "vdso";

/** An ELF note: name size 4, description size 20, type NT_GNU_BUILD_ID, name "GNU". */
const buildIdNote = Buffer.from("040000001400000003000000474e5500", "hex");

/** The build-id in the pages of a vDSO; undefined if there is none of the usual 20 bytes. */
export function buildIdOfNotes(pages: Uint8Array): Uint8Array | undefined {
  const bytes = Buffer.from(pages.buffer, pages.byteOffset, pages.length);
  const at = bytes.indexOf(buildIdNote);
  const from = at + buildIdNote.length;
  return at < 0 || from + 20 > bytes.length ? undefined : Uint8Array.from(bytes.subarray(from, from + 20));
}

const mmTable = tableSpecs.find((spec) => spec.table === "mms")?.kind ?? 0;

let ownPages: Uint8Array | undefined;

/** The vDSO of the running kernel, from this very process; empty if there is none. */
export function runningVdso(): Uint8Array {
  if (ownPages) return ownPages;
  const line = readFileSync("/proc/self/maps", "latin1")
    .split("\n")
    .find((text) => text.endsWith("[vdso]"));
  const match = line ? /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) : null;
  if (!match) return (ownPages = new Uint8Array(0));
  const start = Number.parseInt(match[1] as string, 16);
  const pages = new Uint8Array(Number.parseInt(match[2] as string, 16) - start);
  const fd = openSync("/proc/self/mem", "r");
  try {
    const got = readSync(fd, pages, 0, pages.length, start);
    return (ownPages = pages.subarray(0, got));
  } finally {
    closeSync(fd);
  }
}

/** True if the pages of a vDSO hold this build-id note. */
function hasBuildId(pages: Uint8Array, buildId: Uint8Array): boolean {
  return buildId.length === 0 || Buffer.from(pages.buffer, pages.byteOffset, pages.length).includes(Buffer.from(buildId));
}

/** Whether a written set has the pages of the vDSO that an address space maps (or maps none). */
export function vdsoIsKnown(checkpoint: Checkpoint, mm: number): boolean {
  const missing = missingVdso(checkpoint, mm);
  return missing === undefined || missing.pages !== undefined;
}

function missingVdso(checkpoint: Checkpoint, mm: number): { start: bigint; length: bigint; pages: Uint8Array | undefined } | undefined {
  const { tables } = checkpoint;
  const vma = checkpoint
    .vmasOf(mm)
    .map((row) => tables.vmas[row])
    .find((row) => row?.kind === "vdso");
  if (!vma) return undefined;
  if (checkpoint.extentsOf({ mm }).some((extent) => extent.address < vma.end && extent.address + extent.length > vma.start))
    return undefined;
  const length = vma.end - vma.start;
  const kept =
    tables.foreign.find((row) => row.format === formatId && row.table === mmTable && row.row === mm && row.key === vdsoKey)?.value ??
    storedVdso(checkpoint);
  if (kept && BigInt(kept.length) === length) return { start: vma.start, length, pages: kept };
  const pages = runningVdso();
  const isSame = BigInt(pages.length) === length && hasBuildId(pages, tables.checkpoint[0]?.vdsoBuildId ?? new Uint8Array(0));
  return { start: vma.start, length, pages: isSame ? pages : undefined };
}

/** The runs of an address space with the vDSO's pages among them. */
export function withVdso(checkpoint: Checkpoint, mm: number, runs: readonly MapRun[]): MapRun[] {
  const missing = missingVdso(checkpoint, mm);
  if (!missing?.pages) return [...runs];
  const source: PageSource = new BufferPageSource("vdso", missing.pages);
  const run: MapRun = { address: missing.start, length: missing.length, flags: pageFlag.present, source, position: 0n };
  return [...runs.filter((other) => other.address < run.address), run, ...runs.filter((other) => other.address > run.address)];
}
