// SPDX-License-Identifier: Apache-2.0
/** The mask. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail }) => tables.signalfds[detail ?? -1];
