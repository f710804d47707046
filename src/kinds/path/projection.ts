// SPDX-License-Identifier: Apache-2.0
/** Path and position. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { object, pos }) => ({
  path: object === null ? null : tables.objects[object]?.path,
  pos,
});
