// SPDX-License-Identifier: Apache-2.0
/** Pidfds in image sets: they name their process; those of one that is gone are tied by their inode. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { objectOf, ownerToWire } from "../../../formats/criu/map/map-object.js";
import { objectRow } from "../../gen/tables.js";

/** O_RDWR, which every process descriptor has and an image leaves out. */
const readWrite = 2;

export const mapping: FileMapping = {
  fromWire(builder, { pidfd }) {
    if (!pidfd) return undefined;
    const common = { kind: "pidfd", flags: pidfd.flags | readWrite, fown: pidfd.fown } as const;
    if (pidfd.nspid >= 0) return { ...common, detail: pidfd.nspid };
    const key = `pidfd ${pidfd.ino}`;
    const known = builder.objectRows.get(key);
    if (known !== undefined) return { ...common, object: known };
    const object = builder.tables.objects.push(objectRow({ kind: "other", ino: BigInt(pidfd.ino) })) - 1;
    builder.objectRows.set(key, object);
    return { ...common, object };
  },
  losses: ({ tables }) => [
    {
      code: "files.outside-pidfd",
      facet: "files",
      names: tables.outsidePidfds.map(({ pid }) => `that of process ${pid}`),
      what: "pidfds of processes outside the tree become such of a process that is gone",
    },
  ],
  toWire(context, row, file) {
    const id = context.fileId(row);
    const ino = Number(BigInt.asUintN(32, objectOf(context, file).ino));
    const pidfd = { id, ino, flags: file.flags & ~readWrite, nspid: file.detail ?? -1, fown: ownerToWire(file) };
    return create(FileEntrySchema, { type: fileType.pidfd, id, pidfd });
  },
};
