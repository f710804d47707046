/**
 * A restore reads the symbols of the saved vDSO from its pages. Images made by crimg do not store them, because the
 * kernel provides them; if this kernel's vDSO is the same, its pages are used.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { PageSource } from "../../src/model/page-source.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { pageFlag } from "./page-flags.js";
import type { MapRun } from "./write-pages.js";

let ownPages: Uint8Array | undefined;

/** The vDSO of the running kernel, from this very process; empty if there is none. */
export function runningVdso(): Uint8Array {
  if (ownPages) return ownPages;
  const line = readFileSync("/proc/self/maps", "latin1").split("\n").find((text) => text.endsWith("[vdso]"));
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
  const vma = checkpoint.vmasOf(mm).map((row) => tables.vmas[row]).find((row) => row?.kind === "vdso");
  if (!vma) return undefined;
  if (checkpoint.extentsOf({ mm }).some((extent) => extent.address < vma.end && extent.address + extent.length > vma.start)) return undefined;
  const pages = runningVdso();
  const length = vma.end - vma.start;
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
