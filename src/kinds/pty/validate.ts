// SPDX-License-Identifier: Apache-2.0
/** Pseudoterminals: one master, whose row the terminal names, and modes of the kernel's length. */
import { termiosLength } from "../../linux/termios.js";
import { modelRule } from "../../validate/model-context.js";
import { type FileValidation, lacksDetail } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: lacksDetail,
  objectKinds: ["char_device"],
  rules: [
    modelRule(
      {
        code: "fd.terminal",
        facet: "files",
        summary: "A pseudoterminal's master is a file of that terminal, and its modes are a struct termios2.",
        spec: "SPEC 5.41",
      },
      function* ({ tables }) {
        for (const [row, terminal] of tables.terminals.entries()) {
          const at = (field: "master" | "termios") => ({ table: "terminals", row, field }) as const;
          const master = terminal.master === null ? undefined : tables.files[terminal.master];
          if (terminal.kind === "pty" && (master?.kind !== "pty" || master.detail !== row)) {
            yield { message: `terminal /dev/pts/${terminal.index} has no master that is one of its files`, at: at("master") };
          }
          if (terminal.termios.length !== 0 && terminal.termios.length !== termiosLength) {
            yield {
              message: `the modes of terminal /dev/pts/${terminal.index} have the wrong length`,
              at: at("termios"),
              expected: `${termiosLength} bytes`,
              actual: `${terminal.termios.length} bytes`,
            };
          }
        }
      },
    ),
  ],
};
