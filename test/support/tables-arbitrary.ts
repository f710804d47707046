// SPDX-License-Identifier: Apache-2.0
/** Random tables whose references all name rows. What rows mean is not heeded: addresses and pids are any numbers. */
import fc from "fast-check";
import { fileDetailTables } from "../../src/model/references.js";
import { type FileKind, type MutableTables, type TableName, type Tables, tableSpecs } from "../../src/gen/tables.js";
import { rowArbitraries } from "./gen/ckpt-elf-v2.js";

type AnyRow = Record<string, unknown>;

/** Every table with one row up to `most`. */
export function tablesArbitrary(most = 3): fc.Arbitrary<Tables> {
  const entries = Object.entries(rowArbitraries).map(([name, row]) => {
    return [name, fc.array(row as fc.Arbitrary<object>, { minLength: 1, maxLength: most })] as const;
  });
  return fc.record(Object.fromEntries(entries)).map((rows) => withReferences(rows as unknown as MutableTables));
}

/** The same rows with every reference wrapped into its table. */
function withReferences(tables: MutableTables): Tables {
  const wrap = (value: unknown, target: TableName): number => Number(value) % tables[target].length;
  for (const spec of tableSpecs) {
    for (const content of tables[spec.table] as unknown as AnyRow[]) {
      for (const { name, ref } of spec.fields) {
        if (ref !== undefined && content[name] !== null) content[name] = wrap(content[name], ref as TableName);
      }
    }
  }
  for (const extent of tables.extents as unknown as AnyRow[]) {
    extent["owner"] = wrap(extent["owner"], extent["ownerKind"] === "mm" ? "mms" : "objects");
  }
  for (const file of tables.files as unknown as AnyRow[]) {
    const target = fileDetailTables[file["kind"] as FileKind];
    if (target !== null) file["detail"] = wrap(file["detail"] ?? 0, target);
  }
  return tables;
}
