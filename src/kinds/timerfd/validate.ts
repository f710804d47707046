// SPDX-License-Identifier: Apache-2.0
/** Timerfds name their row; nothing in it can contradict the rest. */
import { lacksDetail, type FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [],
};
