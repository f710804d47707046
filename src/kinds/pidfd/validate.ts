// SPDX-License-Identifier: Apache-2.0
/** Pidfds name a process or none: nothing can be wrong with either. */
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: () => undefined,
  rules: [],
};
