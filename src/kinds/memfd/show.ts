// SPDX-License-Identifier: Apache-2.0
/** Memfds go by their object. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "memfd",
};
