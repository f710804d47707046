// SPDX-License-Identifier: Apache-2.0
/** Image → model. Page payload is never read here: extents refer to the file. */
import { openSync } from "node:fs";
import type { ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders, readSegment } from "../../src/elf/headers.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Tables } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { assertReferences } from "../../src/model/references.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { formatId, segmentsOf } from "./image-header.js";
import { readTables } from "../../src/elf/read-tables.js";
import { CheckedPageSource } from "../../src/pages/checked-source.js";
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
    assertExtents(tables, file.size, path);
    const sums = verify ? readSums(bytes, place) : undefined;
    if (sums) assertSums(file, bytes, segmentsOf(headers), sums);
    const fd = openSync(path, "r");
    const pages = new FilePageSource(path, fd);
    const source = sums?.chunks ? new CheckedPageSource(pages, fd, sums.chunks) : pages;
    return new Checkpoint({ tables, sources: [source], unknownTables });
  } finally {
    file.close();
  }
}

function assertExtents(tables: Tables, size: bigint, path: string): void {
  tables.extents.forEach((extent, index) => {
    const place = { source: path, format: formatId, path: `extents[${index}]`, offset: extent.fileOffset };
    if (extent.source !== 0) throw new CrimgError("ckpt-elf.source", `extents[${index}].source must be 0, found ${extent.source}`, place);
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
  });
}
