// SPDX-License-Identifier: Apache-2.0
/** Fanotify groups name their row; marks belong to groups. */
import { modelRule } from "../../validate/model-context.js";
import { type FileValidation, lacksDetail } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [
    modelRule(
      { code: "fd.fanotify", facet: "event-fds", summary: "Marks belong to open files of kind fanotify.", spec: "SPEC 5.83" },
      function* ({ tables }) {
        for (const [row, { file }] of tables.fanotifyMarks.entries()) {
          const kind = tables.files[file]?.kind;
          if (kind === undefined || kind === "fanotify") continue;
          yield {
            message: `open file #${file} is no fanotify group`,
            at: { table: "fanotifyMarks", row, field: "file" },
            expected: "fanotify",
            actual: kind,
          };
        }
      },
    ),
  ],
};
