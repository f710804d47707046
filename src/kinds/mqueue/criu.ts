// SPDX-License-Identifier: Apache-2.0
/** POSIX message queues have no place in image sets: /dev/null takes theirs. */
import { deviceOf } from "../../../formats/criu/map/map-object.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";

export const mapping: FileMapping = {
  fromWire: () => undefined,
  toWire: (context, row, file) => deviceOf("/dev/null", context.fileId(row), file),
  losses: ({ tables }) => [
    {
      code: "files.mqueue",
      facet: "files",
      names: tables.files.flatMap(({ kind, detail }) => (kind === "mqueue" ? [tables.posixQueues[detail ?? -1]?.name ?? "?"] : [])),
      what: "POSIX message queues are replaced by /dev/null",
    },
  ],
};
