// SPDX-License-Identifier: Apache-2.0
/**
 * Before a process of 2011 is resumed: areas whose file is unknown or gone. Where all their pages are stored, they
 * become memory of the process; else the process cannot be resumed, and all such areas are named at once.
 */
import { statSync } from "node:fs";
import type { Loss } from "../adapter/format.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { type VmaRow, vmaRow } from "../gen/tables.js";
import { Checkpoint } from "../model/checkpoint.js";
import { LossList, someOf } from "../adapter/losses.js";
import { rangesOf } from "./stored-pages.js";

const formats: readonly string[] = ["crtools", "ckpt-elf-v1"];

/** Whether a file is there to be mapped. */
function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** A row of memory in place of a file's. */
function asMemory(vma: VmaRow): VmaRow {
  return vmaRow({ ...vma, kind: "anon_private", object: null, offset: 0n });
}

/**
 * The checkpoint without the files that are not there; itself if there is nothing to change. Formats that keep more
 * than a path are left alone: their files are checked when the image runs.
 * @throws CrimgError `rfc2011.file` where pages are missing
 */
export function withoutMissingFiles(checkpoint: Checkpoint, onLoss: (loss: Loss) => void = () => undefined): Checkpoint {
  const { tables } = checkpoint;
  if (!formats.includes(tables.checkpoint[0]?.sourceFormat ?? "")) return checkpoint;
  const known = new Map<string, boolean>();
  const replaced: string[] = [];
  const refused: string[] = [];
  const stored = tables.mms.map((_row, mm) =>
    rangesOf(checkpoint.extentsOf({ mm }).map(({ address, length }) => ({ va: address, length }))),
  );
  const vmas = tables.vmas.map((vma) => {
    if (vma.kind !== "file_private" && vma.kind !== "file_shared") return vma;
    const object = vma.object === null ? undefined : tables.objects[vma.object];
    const path = object?.path ?? "";
    if (!known.has(path)) known.set(path, path !== "" && isThere(path));
    if (known.get(path)) return vma;
    const range = `0x${vma.start.toString(16)}-0x${vma.end.toString(16)}`;
    const pid = tables.tasks.find((task) => task.mm === vma.mm)?.pid ?? 0;
    const name =
      path === "" ? `a file that is not known (inode ${object?.ino ?? 0n} on ${object?.devMajor ?? 0}:${object?.devMinor ?? 0})` : path;
    const what = `${range} of ${pid}, which maps ${name}`;
    if (vma.kind === "file_private" && isComplete(stored[vma.mm] ?? [], vma)) {
      replaced.push(what);
      return asMemory(vma);
    }
    refused.push(what);
    return vma;
  });
  if (refused.length > 0) {
    throw new CrimgError(
      "rfc2011.file",
      `the file is not there and not all pages are stored: ${someOf(refused, "; ")}`,
      { hint: "put the file back; for a version 1 image, put fdinfo-PID.img of its set beside it, or give its descriptors with --map-fd" },
      exitStatus.restoreFailed,
    );
  }
  if (replaced.length === 0) return checkpoint;
  const list = new LossList();
  list.add("memory.detached", "mapped-files", "areas resumed from their stored pages, as their file is not there", replaced);
  for (const loss of list.losses) onLoss(loss);
  return new Checkpoint({ tables: { ...tables, vmas }, sources: checkpoint.sources, unknownTables: checkpoint.unknownTables });
}

function isComplete(ranges: readonly { readonly va: bigint; readonly length: bigint }[], { start, end }: VmaRow): boolean {
  return ranges.some(({ va, length }) => va <= start && va + length >= end);
}
