// SPDX-License-Identifier: Apache-2.0
/** Pidfds. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  saysMore: true,
  describe: ({ tables }, file) => {
    const row = tables.files.indexOf(file);
    const outside = tables.outsidePidfds.find((one) => one.file === row);
    if (outside !== undefined) return `pidfd of ${outside.pid}, outside the tree`;
    return file.detail === null ? "pidfd of a process that is gone" : `pidfd of ${file.detail}`;
  },
};
