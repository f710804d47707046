// SPDX-License-Identifier: Apache-2.0
/** Open files of the processes in question, and who holds them. */
import type { DescriptorRow, FileKind } from "../../gen/tables.js";
import { rowsOfTasks, type Scope } from "./scope.js";

/** Open file descriptions that the processes in question hold. */
export function filesOf(scope: Scope): number[] {
  const { tables } = scope.checkpoint;
  if (scope.tasks.length === tables.tasks.length) return tables.files.map((_, index) => index);
  const held = rowsOfTasks(tables.descriptors, scope).map((index) => (tables.descriptors[index] as DescriptorRow).file);
  return [...new Set(held)].sort((a, b) => a - b);
}

/** Who holds an open file description: `4711: 3 7; 4712: 3`. */
export function holdersOf(scope: Scope): Map<number, string> {
  const { tables } = scope.checkpoint;
  const numbers = new Map<number, Map<number, number[]>>();
  for (const row of tables.descriptors) {
    const tasks = numbers.get(row.file) ?? new Map<number, number[]>();
    numbers.set(row.file, tasks);
    tasks.set(row.task, [...(tasks.get(row.task) ?? []), row.fd]);
  }
  return new Map(
    [...numbers].map(([file, tasks]) => {
      const words = [...tasks].map(([task, fds]) => `${tables.tasks[task]?.pid ?? "?"}: ${fds.sort((a, b) => a - b).join(" ")}`);
      return [file, words.join("; ")];
    }),
  );
}

/** Row numbers in a detail table of the files of one kind, in table order. */
export function detailsOf(scope: Scope, kind: FileKind): number[] {
  const { tables } = scope.checkpoint;
  const rows = filesOf(scope).flatMap((index) => {
    const file = tables.files[index];
    return file?.kind === kind && file.detail !== null ? [file.detail] : [];
  });
  return [...new Set(rows)].sort((a, b) => a - b);
}
