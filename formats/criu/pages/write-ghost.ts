// SPDX-License-Identifier: Apache-2.0
/** An unlinked file → ghost-file-ID.img. */
import { ftruncateSync } from "node:fs";
import type { Output } from "../../../src/adapter/output.js";
import { objectRow } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import type { PageCopies } from "../../../src/pages/page-copies.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { GhostChunkSchema, GhostFileSchema } from "../gen/payload_pb.js";
import { ImageWriter } from "../wire/image-writer.js";
import { ghostToWire } from "../map/map-object.js";
import { sourceOf } from "./write-pages.js";

export async function writeGhost(
  output: Output,
  checkpoint: Checkpoint,
  context: ImageSetIds,
  row: number,
  copies: PageCopies,
): Promise<void> {
  const object = checkpoint.tables.objects[row] ?? objectRow();
  const writer = new ImageWriter(output, `ghost-file-${context.ghostId(row).toString(16)}.img`, "ghost-file");
  const ghost = context.foreign.apply({ table: "objects", row }, "ghost", GhostFileSchema, ghostToWire(object));
  const extents = checkpoint.extentsOf({ object: row });
  writer.entry(GhostFileSchema, ghost);
  const contentAt = writer.flush();
  for (const extent of extents) {
    // The last page of an extent may reach past the end of the file.
    const end = extent.address + extent.length < object.size ? extent.address + extent.length : object.size;
    const length = end - extent.address;
    if (length <= 0n) continue;
    let at: number;
    if (ghost.chunks) {
      writer.add(GhostChunkSchema, { len: length, off: extent.address });
      at = writer.flush();
    } else {
      at = contentAt + Number(extent.address);
    }
    await copies.copy(writer.fd, [{ source: sourceOf(checkpoint, extent), position: extent.fileOffset, length, target: BigInt(at) }]);
    if (ghost.chunks) writer.advance(Number(length));
  }
  // Holes of a small file are written out: its content simply follows.
  const isRegular = (object.mode & 0o170000) === 0o100000;
  if (!ghost.chunks && isRegular) ftruncateSync(writer.fd, contentAt + Number(object.size));
}
