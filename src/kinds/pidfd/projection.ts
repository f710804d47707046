// SPDX-License-Identifier: Apache-2.0
/** The process; of dead ones that they are dead. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = (_checkpoint, { detail }) => ({ pid: detail });
