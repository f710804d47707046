// SPDX-License-Identifier: Apache-2.0
/** What the caller gives again is 0, 1 or 2. */
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: ({ detail }) =>
    detail === null || detail > 2 ? { field: "detail", message: "an inherited descriptor is 0, 1 or 2" } : undefined,
  rules: [],
};
