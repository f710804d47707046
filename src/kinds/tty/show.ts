// SPDX-License-Identifier: Apache-2.0
/** Terminals go by their device. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "tty",
};
