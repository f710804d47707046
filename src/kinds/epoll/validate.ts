// SPDX-License-Identifier: Apache-2.0
/** Epoll sets: their items belong to them. */
import { modelRule } from "../../validate/model-context.js";
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: () => undefined,
  rules: [
    modelRule(
      { code: "fd.epoll", facet: "event-fds", summary: "Watches and parameters belong to open files of kind epoll.", spec: "SPEC 5.20" },
      function* ({ tables }) {
        for (const table of ["epollWatches", "epollParameters"] as const) {
          for (const [row, { epoll }] of tables[table].entries()) {
            const file = tables.files[epoll];
            if (file === undefined || file.kind === "epoll") continue;
            yield {
              message: `open file #${epoll} is no epoll set`,
              at: { table, row, field: "epoll" },
              expected: "epoll",
              actual: file.kind,
            };
          }
        }
      },
    ),
  ],
};
