// SPDX-License-Identifier: Apache-2.0
/** The small states of src/state that are not what a fresh process has. */
import { cgroupFlagsBits } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { unusualStates } from "../../state/states.js";
import { type Scope, mmsOf, objectText, rowsOfTasks, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

/** Seccomp of the threads of a task: `strict`, `filters of 14, 3 instructions`, the last that was installed last. */
function seccompRows(checkpoint: Checkpoint, task: number): string[][] {
  const { seccompStates, seccompFilters, threads, tasks } = checkpoint.tables;
  return seccompStates.flatMap(({ thread, mode, filter }) => {
    const row = threads[thread];
    if (row?.task !== task) return [];
    const lengths: number[] = [];
    for (let at = filter; at !== null && lengths.length <= seccompFilters.length; at = seccompFilters[at]?.previous ?? null)
      lengths.unshift((seccompFilters[at]?.instructions.length ?? 0) / 8);
    const value = mode === "strict" ? mode : `filter${lengths.length === 1 ? "" : "s"} of ${lengths.join(", ")} instructions`;
    return [["seccomp", value, `thread ${row.tid} of ${tasks[task]?.pid}`]];
  });
}

/** Control groups of the threads of a task, but those that the dumper was in as well. */
function cgroupRows(checkpoint: Checkpoint, task: number): string[][] {
  const { cgroups, cgroupMembers, threads, tasks } = checkpoint.tables;
  return cgroupMembers.flatMap(({ thread, cgroup }) => {
    const [row, group] = [threads[thread], cgroups[cgroup]];
    if (row?.task !== task || group === undefined || (group.flags & cgroupFlagsBits.dumpers) !== 0) return [];
    return [["control group", `${group.hierarchy}:${group.root}${group.path}`, `thread ${row.tid} of ${tasks[task]?.pid}`]];
  });
}

/** Directories and umask of the threads of a task that have their own. */
function directoryRows(checkpoint: Checkpoint, task: number): string[][] {
  const { threadDirectories, threads, tasks, objects } = checkpoint.tables;
  return threadDirectories.flatMap(({ thread, cwd, root, umask }) => {
    const row = threads[thread];
    if (row?.task !== task) return [];
    const holder = `thread ${row.tid} of ${tasks[task]?.pid}`;
    const rows = [["umask", umask.toString(8).padStart(3, "0"), holder]];
    if (cwd !== null) rows.push(["current directory", objectText(objects[cwd]), holder]);
    if (root !== null) rows.push(["root directory", objectText(objects[root]), holder]);
    return rows;
  });
}

/** One table a process: state, value, whose. */
export function state(scope: Scope): Section {
  const { checkpoint } = scope;
  const columns = [{ title: "STATE" }, { title: "VALUE" }, { title: "OF" }] as const;
  const blocks = scope.tasks.map((task) => {
    const rows = unusualStates(checkpoint, [task]).map(({ title, value, holder }) => [title, value, holder]);
    rows.push(...seccompRows(checkpoint, task), ...cgroupRows(checkpoint, task), ...directoryRows(checkpoint, task));
    const heading = taskTitle(scope, task);
    return rows.length > 0 ? { heading, columns, rows } : { heading, lines: ["nothing that a fresh process does not have"] };
  });
  const notes = { lines: ["CPU time used so far is not in an image: clocks and limits of CPU time start at 0 when it is resumed."] };
  return {
    blocks: [...blocks, notes],
    selected: { tasks: scope.tasks, mms: mmsOf(scope), threads: rowsOfTasks(checkpoint.tables.threads, scope) },
  };
}
