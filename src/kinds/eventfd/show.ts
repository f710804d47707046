// SPDX-License-Identifier: Apache-2.0
/** Eventfds with their counts. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: ({ tables }, { detail }) => (detail === null ? "eventfd" : `eventfd ${tables.eventfds[detail]?.count ?? "?"}`),
};
