// SPDX-License-Identifier: Apache-2.0
/** POSIX message queues: none of the narrower formats has a place for them. */
import type { FileLosses } from "../../adapter/file-kind.js";

export const losses: FileLosses = {
  facet: "files",
  kept: { "ckpt-elf-v1": "none", crtools: "none", core: "none" },
};
