// SPDX-License-Identifier: Apache-2.0
/** All that a timer is. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail }) => tables.timerfds[detail ?? -1];
