// SPDX-License-Identifier: Apache-2.0
/** Standard streams of the caller in image sets: a terminal stays one, a set cannot name anything else. */
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { streamToWire } from "../tty/criu.js";

export const mapping: FileMapping = {
  // A terminal that is a standard stream is read as tty, and told apart at the end (tty/criu.ts).
  fromWire: () => undefined,
  toWire: streamToWire,
  hasPathEntry: (context, row) => context.isTerminal(row),
  losses: ({ tables }) => [
    {
      code: "files.inherited",
      facet: "files",
      names: tables.descriptors.flatMap((row) => {
        const file = tables.files[row.file];
        const isTerminal = file?.object != null && tables.objects[file.object]?.kind === "char_device";
        return file?.kind === "inherited" && !isTerminal ? [`fd ${row.fd} of ${tables.tasks[row.task]?.pid ?? 0}`] : [];
      }),
      what: "descriptors of the caller are replaced by /dev/null",
    },
  ],
};
