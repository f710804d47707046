// SPDX-License-Identifier: Apache-2.0
/** Pipes: crtools keeps them, the bytes in flight too. */
import type { FileLosses } from "../../adapter/file-kind.js";

export const losses: FileLosses = {
  facet: "pipes",
  kept: { "ckpt-elf-v1": "none", crtools: "some", core: "none" },
};
