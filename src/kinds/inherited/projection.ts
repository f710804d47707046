// SPDX-License-Identifier: Apache-2.0
/** The number, and the terminal if it is one. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail, object }) => ({
  number: detail,
  path: object === null ? null : tables.objects[object]?.path,
});
