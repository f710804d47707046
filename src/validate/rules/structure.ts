// SPDX-License-Identifier: Apache-2.0
/** Rules about the tables as such: the one checkpoint row, references. */
import { checkReferences } from "../../model/references.js";
import { type ModelRule, modelRule } from "../model-context.js";

export const structureRules: readonly ModelRule[] = [
  modelRule({ code: "checkpoint.one-row", summary: "There is exactly one checkpoint row.", spec: "SPEC 5.1" }, function* ({ tables }) {
    if (tables.checkpoint.length === 1) return;
    yield {
      message: "the table `checkpoint` must have one row",
      expected: "1",
      actual: String(tables.checkpoint.length),
      place: { path: "checkpoint" },
    };
  }),
  modelRule({ code: "checkpoint.page-size", summary: "Pages have 4096 bytes.", spec: "SPEC 5.1" }, function* ({ tables }) {
    for (const [row, { pageSize }] of tables.checkpoint.entries()) {
      if (pageSize === 4096) continue;
      yield {
        message: "the page size is not that of x86-64",
        at: { table: "checkpoint", row, field: "page_size" },
        expected: "4096",
        actual: String(pageSize),
      };
    }
  }),
  modelRule(
    { code: "reference.dangling", summary: "Every reference to a row names a row that is there.", spec: "SPEC 6" },
    function* ({ tables }) {
      for (const { table, row, field, target, targetRows, value } of checkReferences(tables)) {
        yield {
          message: `${field} names row ${value} of ${target}, which has ${targetRows} rows`,
          at: { table, row, field },
          expected: targetRows === 0 ? "no reference" : `0 to ${targetRows - 1}`,
          actual: String(value),
        };
      }
    },
  ),
];
