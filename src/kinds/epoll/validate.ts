// SPDX-License-Identifier: Apache-2.0
/** Epoll sets: their items belong to them. */
import { modelRule } from "../../validate/model-context.js";
import type { FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: () => undefined,
  rules: [
    modelRule(
      { code: "fd.epoll", facet: "event-fds", summary: "Watches belong to open files of kind epoll.", spec: "SPEC 5.20" },
      function* ({ tables }) {
        for (const [row, watch] of tables.epollWatches.entries()) {
          const file = tables.files[watch.epoll];
          if (file === undefined || file.kind === "epoll") continue;
          yield {
            message: `open file #${watch.epoll} is no epoll set`,
            at: { table: "epollWatches", row, field: "epoll" },
            expected: "epoll",
            actual: file.kind,
          };
        }
      },
    ),
  ],
};
