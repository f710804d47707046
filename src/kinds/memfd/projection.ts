// SPDX-License-Identifier: Apache-2.0
/** Name, size, seals and position. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { object, pos }) => {
  const row = object === null ? undefined : tables.objects[object];
  return { name: row?.path, size: row?.size, seals: row?.seals, pos };
};
