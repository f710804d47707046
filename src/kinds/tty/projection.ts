// SPDX-License-Identifier: Apache-2.0
/** The terminal. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { object }) => ({ path: object === null ? null : tables.objects[object]?.path });
