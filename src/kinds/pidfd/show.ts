// SPDX-License-Identifier: Apache-2.0
/** Pidfds. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "pidfd",
};
