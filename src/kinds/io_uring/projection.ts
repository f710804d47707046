// SPDX-License-Identifier: Apache-2.0
/** The ring and its buffers. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, file) => ({
  ring: tables.ioUrings[file.detail ?? -1],
  buffers: tables.ioUringBuffers
    .filter((buffer) => tables.files[buffer.file] === file)
    .map(({ index, address, length }) => ({ index, address, length })),
});
