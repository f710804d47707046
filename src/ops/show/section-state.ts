// SPDX-License-Identifier: Apache-2.0
/** The small states of src/state that are not what a fresh process has. */
import { unusualStates } from "../../state/states.js";
import { type Scope, mmsOf, rowsOfTasks, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

/** One table a process: state, value, whose. */
export function state(scope: Scope): Section {
  const { checkpoint } = scope;
  const columns = [{ title: "STATE" }, { title: "VALUE" }, { title: "OF" }] as const;
  const blocks = scope.tasks.map((task) => {
    const rows = unusualStates(checkpoint, [task]).map(({ title, value, holder }) => [title, value, holder]);
    const heading = taskTitle(scope, task);
    return rows.length > 0 ? { heading, columns, rows } : { heading, lines: ["nothing that a fresh process does not have"] };
  });
  const notes = { lines: ["CPU time used so far is not in an image: clocks and limits of CPU time start at 0 when it is resumed."] };
  return {
    blocks: [...blocks, notes],
    selected: { tasks: scope.tasks, mms: mmsOf(scope), threads: rowsOfTasks(checkpoint.tables.threads, scope) },
  };
}
