// SPDX-License-Identifier: Apache-2.0
/** Of what has a path crtools keeps regular files that still have their name. */
import type { FileLosses } from "../../adapter/file-kind.js";

export const losses: FileLosses = {
  facet: "files",
  kept: { "ckpt-elf-v1": "none", crtools: "some", core: "none" },
  // such as "unix_socket", opened with O_PATH
  nameOf: (object) => object?.kind ?? "path",
};
