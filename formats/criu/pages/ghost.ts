// SPDX-License-Identifier: Apache-2.0
/** ghost-file-ID.img → the row of an unlinked file and extents of its content. */
import { extentRow, objectRow } from "../../../src/gen/tables.js";
import { FilePageSource } from "../../../src/pages/file-source.js";
import type { ModelBuilder } from "../builder.js";
import { GhostChunkSchema, GhostFileSchema } from "../gen/payload_pb.js";
import { openImage } from "../wire/image-reader.js";
import { ghostFromWire, ghostToWire } from "../map/map-object.js";

/** Completes a ghost's row, adds its extents, and keeps what its image says beyond them. */
export function readGhost(builder: ModelBuilder, row: number, id: number): void {
  const { set } = builder.wire;
  const name = `ghost-file-${id.toString(16)}.img`;
  if (!set.has(name)) throw builder.error("criu.ghost", `The content of an unlinked file is missing.`, name);
  const reader = set.open(name, "ghost-file");
  try {
    const ghost = reader.one(GhostFileSchema);
    const object = builder.tables.objects[row] ?? objectRow();
    const isRegular = (ghost.mode & 0o170000) === 0o100000;
    const contentAt = BigInt(reader.position);
    const contentSize = isRegular ? BigInt(reader.size) - contentAt : object.size;
    builder.tables.objects[row] = ghostFromWire(object, ghost, contentSize);
    builder.deltas.push((context, foreign) => {
      foreign.addDelta({ table: "objects", row }, "ghost", GhostFileSchema, ghost, ghostToWire(context.tables.objects[row] ?? objectRow()));
    });
    if (!isRegular) return;
    const label = set.labelOf(name);
    const source = builder.sources.push(new FilePageSource(label, openImage(set.path(name), label))) - 1;
    const extents = builder.tables.extents;
    if (!ghost.chunks) {
      if (contentSize > 0n) {
        extents.push(extentRow({ ownerKind: "object", owner: row, address: 0n, length: contentSize, fileOffset: contentAt, source }));
      }
      return;
    }
    let last = 0n;
    for (;;) {
      const at = reader.position;
      const chunk = reader.next(GhostChunkSchema);
      if (!chunk) break;
      if (chunk.off < last || chunk.off + chunk.len > ghost.size) {
        throw reader.error(
          "criu.ghost",
          `A chunk of ${chunk.len} bytes at ${chunk.off} does not fit into the file of ${ghost.size} bytes.`,
          at,
        );
      }
      last = chunk.off + chunk.len;
      const fileOffset = reader.skip(chunk.len);
      if (chunk.len > 0n)
        extents.push(extentRow({ ownerKind: "object", owner: row, address: chunk.off, length: chunk.len, fileOffset, source }));
    }
  } finally {
    reader.close();
  }
}
