// SPDX-License-Identifier: Apache-2.0
/** io_uring: none of the narrower formats has a place for it. */
import type { FileLosses } from "../../adapter/file-kind.js";

export const losses: FileLosses = {
  facet: "event-fds",
  kept: { "ckpt-elf-v1": "none", crtools: "none", core: "none" },
};
