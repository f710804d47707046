// SPDX-License-Identifier: Apache-2.0
/** Epoll sets. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "epoll",
};
