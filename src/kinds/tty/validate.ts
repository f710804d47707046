// SPDX-License-Identifier: Apache-2.0
/** Terminals go by a standard stream, the first where nothing is said. */
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: () => undefined,
  rules: [],
};
