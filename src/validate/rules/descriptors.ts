// SPDX-License-Identifier: Apache-2.0
/** Rules about descriptors and open files of every kind; then those of each kind. */
import { type ModelRule, modelRule, taskName } from "../model-context.js";
import { fileValidations } from "./file-kinds.js";

export const descriptorRules: readonly ModelRule[] = [
  modelRule(
    { code: "fd.twice", facet: "files", summary: "A process has each descriptor number once.", spec: "SPEC 5.15" },
    function* (context) {
      const seen = new Map<string, number>();
      for (const [row, { task, fd }] of context.tables.descriptors.entries()) {
        const first = seen.get(`${task} ${fd}`);
        if (first === undefined) seen.set(`${task} ${fd}`, row);
        else
          yield {
            message: `descriptor ${fd} of ${taskName(context, task)} is also in descriptors[${first}]`,
            at: { table: "descriptors", row, field: "fd" },
            actual: String(fd),
          };
      }
    },
  ),
  modelRule(
    { code: "fd.number", facet: "files", summary: "Descriptor numbers are below the kernel's largest (2^30).", spec: "proc(5), nr_open" },
    function* (context) {
      for (const [row, { task, fd }] of context.tables.descriptors.entries()) {
        if (fd < 1 << 30) continue;
        yield {
          message: `${taskName(context, task)} cannot have this descriptor`,
          at: { table: "descriptors", row, field: "fd" },
          expected: "below 1073741824",
          actual: String(fd),
        };
      }
    },
  ),
  modelRule(
    { code: "fd.detail", facet: "files", summary: "Each kind of open file names what that kind needs.", spec: "SPEC 5.14" },
    function* ({ tables }) {
      for (const [row, file] of tables.files.entries()) {
        const wrong = fileValidations[file.kind].problem(file);
        if (wrong !== undefined) yield { message: wrong.message, at: { table: "files", row, field: wrong.field } };
      }
    },
  ),
  modelRule(
    { code: "fd.object-kind", facet: "files", summary: "The object of an open file is of a kind that such files have.", spec: "SPEC 5.14" },
    function* ({ tables }) {
      for (const [row, file] of tables.files.entries()) {
        const allowed = fileValidations[file.kind].objectKinds;
        const object = file.object === null ? undefined : tables.objects[file.object];
        if (allowed === undefined || object === undefined || allowed.includes(object.kind)) continue;
        yield {
          message: `a file of kind ${file.kind} cannot be an object of kind ${object.kind}`,
          at: { table: "files", row, field: "object" },
          expected: allowed.join(" or "),
          actual: object.kind,
        };
      }
    },
  ),
  modelRule(
    {
      code: "fd.unheld",
      severity: "warning",
      facet: "files",
      summary: "Every open file is held by a descriptor, or travels in a message.",
      spec: "SPEC 5.15",
    },
    function* ({ tables }) {
      const held = new Set([...tables.descriptors, ...tables.messageFiles].map((row) => row.file));
      for (const row of tables.files.keys())
        if (!held.has(row)) yield { message: `no descriptor holds open file #${row}`, at: { table: "files", row } };
    },
  ),
  ...Object.values(fileValidations).flatMap(({ rules }) => rules),
];
