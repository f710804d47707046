// SPDX-License-Identifier: Apache-2.0
/** The queue and its messages. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail }) => ({
  queue: tables.posixQueues[detail ?? -1],
  messages: tables.posixMessages.filter(({ queue }) => queue === detail).map(({ priority, data }) => ({ priority, data })),
});
