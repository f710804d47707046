// SPDX-License-Identifier: Apache-2.0
/** Inotify instances: their watches have numbers of their own, and events belong to instances. */
import { IN } from "../../model/inotify-plan.js";
import { modelRule } from "../../validate/model-context.js";
import type { FileValidation } from "../../validate/rules/file-kind.js";

/** Bits that queue events: IN_ALL_EVENTS, and IN_UNMOUNT, IN_Q_OVERFLOW and IN_IGNORED, which come unasked. */
const eventBits = 0xfff | IN.unmount | IN.overflow | IN.ignored;

export const validation: FileValidation = {
  problem: () => undefined,
  rules: [
    modelRule(
      {
        code: "fd.inotify",
        facet: "event-fds",
        summary: "Watches and events belong to open files of kind inotify; no two watches of one have the same number.",
        spec: "SPEC 5.80",
      },
      function* ({ tables }) {
        const seen = new Set<string>();
        for (const table of ["inotifyWatches", "inotifyEvents"] as const) {
          for (const [row, { file, wd }] of tables[table].entries()) {
            const kind = tables.files[file]?.kind;
            if (kind !== undefined && kind !== "inotify") {
              yield {
                message: `open file #${file} is no inotify instance`,
                at: { table, row, field: "file" },
                expected: "inotify",
                actual: kind,
              };
            }
            if (table === "inotifyEvents") continue;
            if (wd < 1 || seen.has(`${file}:${wd}`)) {
              const message = wd < 1 ? `a watch has the number ${wd}` : `two watches of open file #${file} have the number ${wd}`;
              yield { message, at: { table, row, field: "wd" } };
            }
            seen.add(`${file}:${wd}`);
          }
        }
        for (const [row, { mask }] of tables.inotifyEvents.entries()) {
          if ((mask & eventBits) === 0) yield { message: "an event tells nothing", at: { table: "inotifyEvents", row, field: "mask" } };
        }
      },
    ),
  ],
};
