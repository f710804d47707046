// SPDX-License-Identifier: Apache-2.0
/** Where two models differ, for people who look for rules that are missing. */
import { isDeepStrictEqual } from "node:util";

type Table = readonly Readonly<Record<string, unknown>>[];

/** `vmas.start`, or `vmas` for another number of rows; sorted, each once. */
export function changedFields(before: Readonly<Record<string, Table>>, after: Readonly<Record<string, Table>>): string[] {
  const changed = new Set<string>();
  for (const [name, rows] of Object.entries(before)) {
    const others = after[name] ?? [];
    if (rows.length !== others.length) {
      changed.add(name);
      continue;
    }
    rows.forEach((row, index) => {
      const other = others[index] ?? {};
      if (row === other) return;
      for (const field of Object.keys(row)) if (!isDeepStrictEqual(row[field], other[field])) changed.add(`${name}.${field}`);
    });
  }
  return [...changed].sort();
}
