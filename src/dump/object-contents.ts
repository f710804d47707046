// SPDX-License-Identifier: Apache-2.0
/**
 * Contents of mapped objects that exist nowhere else: anonymous shared memory, memfds, unlinked files.
 * With CAP_CHECKPOINT_RESTORE through the links of /proc/PID/map_files, which reach the whole object; else through
 * the mappings, as far as the tree maps it.
 */
import { extentRow } from "../gen/tables.js";
import { close, failed, openFlag, tryFstat, tryOpen } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { scratchLength } from "./injector.js";
import { mapFilesPath, unusualVmas, type VmaInfo } from "./vmas.js";

const page = 4096n;

/** The mappings of one process, and the page source of its memory. */
export interface MappedProcess {
  readonly process: DumpedProcess;
  readonly vmas: readonly VmaInfo[];
  readonly source: number;
}

interface Window extends MappedProcess {
  readonly vma: VmaInfo;
}

/** Stores every mapped object whose content must be in the image and is not yet. */
export function collectObjectContents(context: DumpContext, mapped: readonly MappedProcess[]): void {
  const windows = new Map<number, Window[]>();
  for (const entry of mapped) {
    for (const vma of unusualVmas(entry.vmas)) {
      if (vma.object === null || !context.objects.needsContents(vma.object)) continue;
      const list = windows.get(vma.object);
      if (list) list.push({ ...entry, vma });
      else windows.set(vma.object, [{ ...entry, vma }]);
    }
  }
  for (const [object, list] of windows) {
    if (!storeThroughLink(context, object, list)) storeThroughMappings(context, object, list);
  }
}

function storeThroughLink(context: DumpContext, object: number, windows: readonly Window[]): boolean {
  const first = windows[0] as Window;
  const fd = tryOpen(mapFilesPath(first.process.pid, first.vma.mapping), openFlag.RDONLY);
  if (failed(fd)) return false;
  const stat = tryFstat(fd);
  if (typeof stat === "number") {
    close(fd);
    return false;
  }
  context.objects.update(object, { size: stat.size });
  context.objects.storeContents(object, fd, stat.size);
  return true;
}

/** Reads shared mappings; private ones may hide the object's bytes behind copies of their own. */
function storeThroughMappings(context: DumpContext, object: number, windows: readonly Window[]): void {
  const offsetOf = (window: Window): bigint => window.vma.mapping.offset;
  const sorted = windows
    .filter((window) => window.vma.mapping.isShared)
    .sort((a, b) => (offsetOf(a) < offsetOf(b) ? -1 : offsetOf(a) > offsetOf(b) ? 1 : 0));
  if (sorted.length === 0) {
    const { process, vma } = windows[0] as Window;
    context.refuse(
      "not-permitted",
      `process ${process.pid} (${process.name}): the unlinked file mapped at 0x${vma.mapping.start.toString(16)} cannot be read`,
      {
        hint: "Run as root.",
      },
    );
  }
  context.objects.markStored(object);
  let covered = 0n;
  let last = 0n;
  for (const { process, vma, source } of sorted) {
    const { start, end, offset } = vma.mapping;
    const from = offset > covered ? offset : covered;
    const to = offset + (end - start);
    if (to <= from) continue;
    forEachResident(process, start + (from - offset), end, (runStart, runEnd) => {
      last = offset + (runEnd - start);
      context.tables.extents.push(
        extentRow({
          ownerKind: "object",
          owner: object,
          address: offset + (runStart - start),
          length: runEnd - runStart,
          fileOffset: runStart,
          source,
        }),
      );
    });
    covered = to;
  }
  const { size } = context.objects.row(object);
  if (size < last) context.objects.update(object, { size: last });
}

/** Runs of pages that exist, by mincore(2) in the process. Asking does not make pages; reading a hole would. */
function forEachResident(process: DumpedProcess, start: bigint, end: bigint, onRun: (start: bigint, end: bigint) => void): void {
  let runStart: bigint | undefined;
  for (let at = start; at < end; ) {
    const left = Number((end - at) / page);
    const vector = Buffer.alloc(Math.min(left, scratchLength));
    const length = BigInt(vector.length) * page;
    if (failed(process.injector().call("mincore", at, length, { out: vector }))) vector.fill(1);
    vector.forEach((byte, index) => {
      const address = at + BigInt(index) * page;
      if ((byte & 1) !== 0) runStart ??= address;
      else if (runStart !== undefined) {
        onRun(runStart, address);
        runStart = undefined;
      }
    });
    at += length;
  }
  if (runStart !== undefined) onRun(runStart, end);
}
