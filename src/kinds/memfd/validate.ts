// SPDX-License-Identifier: Apache-2.0
/** Memfds have a memfd as their object. */
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: () => undefined,
  objectKinds: ["memfd"],
  rules: [],
};
