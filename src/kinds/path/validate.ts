// SPDX-License-Identifier: Apache-2.0
/** What has a path has an object. */
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: ({ object }) => (object === null ? { field: "object", message: "a file of kind path names its object" } : undefined),
  rules: [],
};
