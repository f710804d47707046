// SPDX-License-Identifier: Apache-2.0
/**
 * `--parent`: an image that may have pages of the one that is written. Whether a page is the same is found out by its bytes,
 * at the same address of the process with the same pid: nothing has to be tracked, and nothing can be missed. An incremental
 * parent has parents of its own; they become this image's too, so that a resume opens few files and follows no chain.
 */
import { realpathSync } from "node:fs";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders } from "../../src/elf/headers.js";
import { CrimgError, exitStatus } from "../../src/errors/crimg-error.js";
import { type ExtentRow, parentRow, type ParentRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { firstExtentEndingAfter } from "../../src/model/ascending.js";
import { rowsWithOwnBytes } from "../../src/model/shared-pages.js";
import { checksumOf } from "../../src/pages/checksum.js";
import type { FindBase } from "../../src/pages/storage-plan.js";
import type { Base } from "../../src/pages/store-pages.js";
import { formatId, segmentsOf } from "./image-header.js";
import { readImage } from "./read.js";

const pageSize = 4096;

export interface ParentImage {
  /** Rows of the image that is written; all that its parent needs, too. */
  readonly rows: readonly ParentRow[];
  readonly findBase: FindBase;
  close(): void;
}

/** @throws CrimgError `parent.processes` if no process of the checkpoint is in the parent, and what reading it throws */
export function openParent(path: string, checkpoint: Checkpoint): ParentImage {
  const parent = readImage(path, { verify: true });
  try {
    if (parent.sources[0]?.direct?.() === undefined) {
      throw new CrimgError("parent.compressed", `${path} is compressed, and a resume reads pages of parents as they are`, {
        source: path,
        hint: "crimg convert it without --compress, and name that",
      });
    }
    const rows = [rowOf(path), ...parent.tables.parents];
    return { rows, findBase: finderIn(path, parent, checkpoint), close: () => parent.close() };
  } catch (error) {
    parent.close();
    throw error;
  }
}

/** What the file is known again by. */
function rowOf(path: string): ParentRow {
  const file = FileBytes.open(path);
  try {
    const { tables } = segmentsOf(readProgramHeaders(file, readElfHeader(file, formatId)));
    const checkOffset = tables?.pOffset ?? 0n;
    const left = file.size - checkOffset;
    const checkLength = left < BigInt(pageSize) ? Number(left) & ~7 : pageSize;
    const checkSum = checksumOf(file.read(checkOffset, checkLength));
    return parentRow({ path: realpathSync(path), size: file.size, checkOffset, checkLength, checkSum });
  } finally {
    file.close();
  }
}

function finderIn(path: string, parent: Checkpoint, { tables }: Checkpoint): FindBase {
  // What extents of the parent have in common is taken for one of them: a resume knows the checksum of one run at each place.
  const own = new Map<number, ExtentRow[]>();
  for (const row of rowsWithOwnBytes(parent.tables)) {
    const extent = parent.tables.extents[row];
    if (extent?.ownerKind !== "mm") continue;
    const known = own.get(extent.owner);
    if (known === undefined) own.set(extent.owner, [extent]);
    else known.push(extent);
  }
  const mmOf = new Map(parent.tables.tasks.map(({ pid, mm }) => [pid, mm]));
  /** Extents of the parent, by address space of the checkpoint. */
  const extents = new Map<number, readonly ExtentRow[]>();
  for (const { pid, mm } of tables.tasks) {
    const theirs = mmOf.get(pid) ?? null;
    if (mm !== null && theirs !== null) extents.set(mm, own.get(theirs) ?? []);
  }
  if (extents.size === 0) {
    const pids = parent.tables.tasks.map(({ pid }) => pid).join(", ");
    throw new CrimgError(
      "parent.processes",
      `${path} is no parent of this dump: its processes are ${pids}`,
      { source: path, hint: "name an earlier image of the same processes, or leave --parent out" },
      exitStatus.refused,
    );
  }
  // Its own pages are source 0 there, and those of its first parent source 1.
  const fds = parent.sources.map((source) => source.direct?.()?.fd ?? -1);
  return function* (extent, skip, length) {
    const known = extent.ownerKind === "mm" ? (extents.get(extent.owner) ?? []) : [];
    const end = extent.address + skip + length;
    let at = extent.address + skip;
    for (let index = firstExtentEndingAfter(known, at); at < end; index++) {
      const other = known[index];
      const start = other === undefined || other.address > end ? end : other.address;
      if (start > at) yield { length: start - at };
      if (other === undefined || start >= end) return;
      at = start > at ? start : at;
      const to = other.address + other.length < end ? other.address + other.length : end;
      const base: Base = {
        fd: fds[other.source] ?? -1,
        offset: other.fileOffset + (at - other.address),
        source: other.source + 1,
      };
      yield base.fd < 0 ? { length: to - at } : { length: to - at, base };
      at = to;
    }
  };
}
