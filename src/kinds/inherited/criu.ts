// SPDX-License-Identifier: Apache-2.0
/**
 * Standard streams of the caller in image sets: a terminal stays one. In a container any other is a pipe without another end, which
 * its engine replaces (formats/criu/map/standard-streams.ts); elsewhere a set cannot name it.
 */
import { create } from "@bufbuild/protobuf";
import { FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { ownerToWire } from "../../../formats/criu/map/map-object.js";
import { isContainer } from "../../../formats/criu/map/standard-streams.js";
import { streamToWire } from "../tty/criu.js";

export const mapping: FileMapping = {
  // A terminal that is a standard stream is read as tty, and told apart at the end (tty/criu.ts).
  fromWire: () => undefined,
  toWire(context, row, file) {
    if (context.isTerminal(row) || !isContainer(context.tables)) return streamToWire(context, row, file);
    const id = context.fileId(row);
    const pipe = { id, pipeId: context.outsidePipeId(row), flags: file.flags, fown: ownerToWire(file) };
    return create(FileEntrySchema, { type: fileType.pipe, id, pipe });
  },
  hasPathEntry: (context, row) => context.isTerminal(row),
  losses: ({ tables }) => [
    {
      code: "files.inherited",
      facet: "files",
      names: isContainer(tables)
        ? []
        : tables.descriptors.flatMap((row) => {
            const file = tables.files[row.file];
            const isTerminal = file?.object != null && tables.objects[file.object]?.kind === "char_device";
            return file?.kind === "inherited" && !isTerminal ? [`fd ${row.fd} of ${tables.tasks[row.task]?.pid ?? 0}`] : [];
          }),
      what: "descriptors of the caller are replaced by /dev/null",
    },
  ],
};
