// SPDX-License-Identifier: Apache-2.0
/** Signalfds in image sets. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { signalfdRow } from "../../gen/tables.js";

export const mapping: FileMapping = {
  fromWire({ tables }, { sgfd }) {
    if (!sgfd) return undefined;
    const detail = tables.signalfds.push(signalfdRow({ mask: sgfd.sigmask })) - 1;
    return { kind: "signalfd", detail, flags: sgfd.flags, fown: sgfd.fown };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const sigmask = context.tables.signalfds[file.detail ?? 0]?.mask ?? 0n;
    return create(FileEntrySchema, { type: fileType.signalfd, id, sgfd: { id, flags: file.flags, fown: ownerToWire(file), sigmask } });
  },
};
