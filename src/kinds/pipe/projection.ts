// SPDX-License-Identifier: Apache-2.0
/** The pipe, by what is in it; FIFOs by their path too. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { object, detail }) => ({
  path: object === null ? null : tables.objects[object]?.path,
  data: Buffer.from(tables.pipes[detail ?? -1]?.data ?? []).toString("latin1"),
});
