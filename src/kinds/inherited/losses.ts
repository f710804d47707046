// SPDX-License-Identifier: Apache-2.0
/** Standard streams are given anew by whoever resumes, and every format takes them to be there. */
import type { FileLosses } from "../../adapter/file-kind.js";

export const losses: FileLosses = {
  facet: "files",
  kept: { "ckpt-elf-v1": "all", crtools: "all", core: "some" },
};
