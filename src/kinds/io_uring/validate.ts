// SPDX-License-Identifier: Apache-2.0
/** Rings name their row; sizes are powers of two; buffers belong to rings. */
import { modelRule } from "../../validate/model-context.js";
import { type FileValidation, lacksDetail } from "../../validate/rules/file-kind.js";

/** IORING_MAX_ENTRIES, IORING_MAX_CQ_ENTRIES of the kernel. */
const most = { sqEntries: 32_768, cqEntries: 65_536 } as const;

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [
    modelRule(
      { code: "fd.io-uring", facet: "event-fds", summary: "Queues of a ring have a power of two of entries.", spec: "SPEC 5.100" },
      function* ({ tables }) {
        for (const [row, ring] of tables.ioUrings.entries()) {
          for (const field of ["sqEntries", "cqEntries"] as const) {
            const entries = ring[field];
            if (entries > 0 && entries <= most[field] && (entries & (entries - 1)) === 0) continue;
            yield {
              message: `a queue of a ring has ${entries} entries`,
              at: { table: "ioUrings", row, field },
              expected: `a power of two, at most ${most[field]}`,
              actual: String(entries),
            };
          }
        }
      },
    ),
    modelRule(
      {
        code: "fd.io-uring-buffer",
        facet: "event-fds",
        summary: "Registered buffers belong to open files of kind io_uring.",
        spec: "SPEC 5.101",
      },
      function* ({ tables }) {
        for (const [row, { file }] of tables.ioUringBuffers.entries()) {
          const kind = tables.files[file]?.kind;
          if (kind === undefined || kind === "io_uring") continue;
          yield {
            message: `open file #${file} is no ring`,
            at: { table: "ioUringBuffers", row, field: "file" },
            expected: "io_uring",
            actual: kind,
          };
        }
      },
    ),
  ],
};
