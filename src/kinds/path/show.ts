// SPDX-License-Identifier: Apache-2.0
/** What has a path goes by its object. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "path",
};
