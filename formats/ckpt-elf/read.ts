// SPDX-License-Identifier: Apache-2.0
/** Image → model. Page payload is never read here: extents refer to the file. */
import { openSync } from "node:fs";
import type { ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders, readSegment } from "../../src/elf/headers.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { ProgramHeader } from "../../src/gen/elf64.js";
import type { Tables } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { rowsWithOwnBytes } from "../../src/model/shared-pages.js";
import { assertReferences } from "../../src/model/references.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { formatId, segmentsOf } from "./image-header.js";
import { readTables } from "../../src/elf/read-tables.js";
import { CheckedPageSource } from "../../src/pages/checked-source.js";
import { checksumOf, sumInFile } from "../../src/pages/checksum.js";
import { FramedPageSource } from "../../src/pages/framed-bytes.js";
import type { PageSource } from "../../src/model/page-source.js";
import type { StoredChunks } from "../../src/model/stored-chunks.js";
import { endOfFrames, type StoredFrame } from "../../src/model/stored-frames.js";
import { readFrames } from "./frames.js";
import { ParentPages } from "./parent-pages.js";
import { assertSums, readSums } from "./sums.js";

/** Reads an image. Throws CrimgError `elf.*`, `tables.*`, `model.reference`, `ckpt-elf.*`. */
export function readImage(path: string, { verify = false }: ReadOptions): Checkpoint {
  const file = FileBytes.open(path);
  try {
    const header = readElfHeader(file, formatId);
    const headers = readProgramHeaders(file, header);
    const { tables: segment } = segmentsOf(headers);
    if (segment === undefined) {
      throw new CrimgError("ckpt-elf.no-tables", "the file has no PT_CKPT_TABLES segment", { source: path, format: formatId });
    }
    const bytes = readSegment(file, segment, `program_headers[${headers.indexOf(segment)}]`);
    const place = { source: path, base: segment.pOffset, format: formatId };
    const { tables, unknownTables } = readTables(bytes, place);
    if (tables.checkpoint.length !== 1) {
      throw new CrimgError("ckpt-elf.checkpoint", `the table checkpoint must have one row, found ${tables.checkpoint.length}`, {
        source: path,
        format: formatId,
        path: "checkpoint",
      });
    }
    assertReferences(tables, { source: path, format: formatId });
    const frames = readFrames(bytes, place, segmentsOf(headers).extents);
    assertExtents(tables, segmentsOf(headers).extents, frames.length > 0 ? BigInt(endOfFrames(frames)) : file.size, path, frames);
    const sums = verify ? readSums(bytes, place) : undefined;
    if (sums) assertSums(file, bytes, segmentsOf(headers), sums);
    const source = pagesOf(path, frames, sums?.chunks);
    const parents = tables.parents.map((row) => new ParentPages(row, path, verify));
    return new Checkpoint({ tables, sources: [source, ...parents], unknownTables });
  } finally {
    file.close();
  }
}

/** Stored bytes of an image; looked at before they are used where there are checksums. */
function pagesOf(path: string, frames: readonly StoredFrame[], chunks: StoredChunks | undefined): PageSource {
  if (frames.length > 0) {
    const pages = new FramedPageSource(FileBytes.open(path), frames);
    if (chunks === undefined) return pages;
    const sumOf = (index: number): number => {
      const bytes = new Uint8Array(chunks.lengths[index] ?? 0);
      pages.read(BigInt(chunks.offsets[index] ?? 0), bytes);
      return checksumOf(bytes);
    };
    return new CheckedPageSource(pages, sumOf, chunks);
  }
  const fd = openSync(path, "r");
  const pages = new FilePageSource(path, fd);
  return chunks === undefined ? pages : new CheckedPageSource(pages, (index) => sumInFile(fd, chunks, index), chunks);
}

/**
 * Every extent lies in the segment of stored bytes, which ends in the file, and no byte belongs to two: what a reader has
 * to build is bounded by the size of the file (SPEC 7 and 9).
 */
function assertExtents(
  tables: Tables,
  segment: ProgramHeader | undefined,
  size: bigint,
  path: string,
  frames: readonly StoredFrame[],
): void {
  const [start, fileEnd] = segment === undefined ? [0n, 0n] : [segment.pOffset, segment.pOffset + segment.pFilesz];
  const end = frames.length > 0 ? BigInt(endOfFrames(frames)) : fileEnd;
  tables.extents.forEach((extent, index) => {
    const place = { source: path, format: formatId, path: `extents[${index}]`, offset: extent.fileOffset };
    if (extent.source > tables.parents.length) {
      const names = `extents[${index}].source must be at most ${tables.parents.length}, the number of parents, found ${extent.source}`;
      throw new CrimgError("ckpt-elf.source", names, place);
    }
    if (extent.source !== 0) {
      const { size: parentSize } = tables.parents[extent.source - 1] ?? { size: 0n };
      if (extent.fileOffset + extent.length <= parentSize) return;
      throw new CrimgError("ckpt-elf.extent", `extents[${index}] lies behind the end of parents[${extent.source - 1}]`, place);
    }
    if (extent.fileOffset + extent.length > size) {
      throw new CrimgError(
        "pages.short",
        `extents[${index}] ends at ${extent.fileOffset + extent.length}, but the file has ${size} bytes`,
        {
          ...place,
          hint: "the image was cut off; was the disk full?",
        },
      );
    }
    if (extent.fileOffset < start || extent.fileOffset + extent.length > end) {
      throw new CrimgError("ckpt-elf.extent", `extents[${index}] lies outside the segment of stored bytes`, {
        ...place,
        expected: `from ${start} to ${end}`,
        actual: `${extent.fileOffset} to ${extent.fileOffset + extent.length}`,
      });
    }
  });
  // Pages that a child shares with its parent, and equal ones (--dedup), are stored once.
  const order = rowsWithOwnBytes(tables).filter((row) => tables.extents[row]?.source === 0);
  const offsetOf = (index: number): bigint => tables.extents[index]?.fileOffset ?? 0n;
  const isAscending = order.every((index, at) => at === 0 || offsetOf(order[at - 1] ?? 0) <= offsetOf(index));
  if (!isAscending) order.sort((a, b) => (offsetOf(a) < offsetOf(b) ? -1 : offsetOf(a) > offsetOf(b) ? 1 : a - b));
  let taken = 0n;
  for (const index of order) {
    const offset = offsetOf(index);
    if (offset < taken) {
      throw new CrimgError("ckpt-elf.extent", `extents[${index}] has bytes of the file that another extent has`, {
        source: path,
        format: formatId,
        path: `extents[${index}].file_offset`,
        offset,
        expected: `from ${taken} on`,
        actual: String(offset),
      });
    }
    taken = offset + (tables.extents[index]?.length ?? 0n);
  }
}
