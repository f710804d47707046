// SPDX-License-Identifier: Apache-2.0
/** Memfds in image sets: the descriptor names an inode of memfd.img. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { objectOfMemfd, ownerToWire } from "../../../formats/criu/map/map-object.js";

export const mapping: FileMapping = {
  fromWire(builder, { id, memfd }) {
    if (!memfd) return undefined;
    const object = objectOfMemfd(builder, memfd.inodeId);
    if (object === undefined) {
      throw builder.error("criu.memfd", `Memory file ${memfd.inodeId} is not in memfd.img.`, "files.img", `id ${id} memfd.inode_id`);
    }
    return { kind: "memfd", object, ...memfd };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const inodeId = context.sharedMemory(file.object ?? 0).inodeId ?? 0;
    const memfd = { id, flags: file.flags, pos: file.pos, fown: ownerToWire(file), inodeId };
    return create(FileEntrySchema, { type: fileType.memfd, id, memfd });
  },
};
