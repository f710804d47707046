// SPDX-License-Identifier: Apache-2.0
/** Eventfds in image sets. EFD_SEMAPHORE has no place there. */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { eventfdRow } from "../../gen/tables.js";

export const mapping: FileMapping = {
  fromWire({ tables }, { efd }) {
    if (!efd) return undefined;
    const detail = tables.eventfds.push(eventfdRow({ count: efd.counter })) - 1;
    return { kind: "eventfd", detail, flags: efd.flags, fown: efd.fown };
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const counter = context.tables.eventfds[file.detail ?? 0]?.count ?? 0n;
    return create(FileEntrySchema, { type: fileType.eventfd, id, efd: { id, flags: file.flags, fown: ownerToWire(file), counter } });
  },
  losses: ({ tables }) => [
    {
      code: "event-fds.semaphore",
      facet: "event-fds",
      names: tables.eventfds.flatMap((row, index) => (row.isSemaphore !== 0 ? [`eventfd ${index}`] : [])),
      what: "EFD_SEMAPHORE is not kept",
    },
  ],
};
