// SPDX-License-Identifier: Apache-2.0
/** Count and mode. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail }) => tables.eventfds[detail ?? -1];
