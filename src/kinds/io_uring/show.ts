// SPDX-License-Identifier: Apache-2.0
/** Rings: their sizes and how many requests they have had. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: ({ tables }, { detail }) => {
    const ring = detail === null ? undefined : tables.ioUrings[detail];
    return ring === undefined ? "io_uring" : `io_uring ${ring.sqEntries}/${ring.cqEntries} entries, ${ring.position} requests`;
  },
};
