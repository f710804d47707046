// SPDX-License-Identifier: Apache-2.0
/** Streams of the caller by their names. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: (_checkpoint, { detail }) => (detail === null ? "inherited" : `inherited ${["stdin", "stdout", "stderr"][detail] ?? detail}`),
};
