// SPDX-License-Identifier: Apache-2.0
/** Sections about descriptors and open files of every kind. */
import { openFlags } from "../../linux/open-flags.js";
import type { DescriptorRow, FileLockRow } from "../../gen/tables.js";
import type { Block } from "./document.js";
import { fileText } from "./file-kinds.js";
import { filesOf, holdersOf } from "./held-files.js";
import { openFlagNames } from "./names.js";
import { numbersOf, rowsOfTasks, type Scope, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

/** Every descriptor of every process. */
export function fds(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const indices = rowsOfTasks(tables.descriptors, scope);
  const columns = [
    { title: "FD", align: "right" },
    { title: "FILE", align: "right" },
    { title: "KIND" },
    { title: "FLAGS" },
    { title: "POS", align: "right" },
    { title: "WHAT" },
  ] as const;
  const blocks = scope.tasks.map((task): Block => {
    const own = checkpoint.descriptorsOf(task).map((index) => tables.descriptors[index] as DescriptorRow);
    const rows = [...own]
      .sort((a, b) => a.fd - b.fd)
      .map((row) => {
        const file = tables.files[row.file];
        const flags = file === undefined ? "-" : openFlagNames(file.flags & ~openFlags.CLOEXEC) + (row.flags & 1 ? "|CLOEXEC" : "");
        return [String(row.fd), `#${row.file}`, file?.kind ?? "?", flags, String(file?.pos ?? 0n), fileText(checkpoint, file)];
      });
    return { heading: taskTitle(scope, task), columns, rows };
  });
  const files = numbersOf(indices.map((index) => tables.descriptors[index]?.file)).filter((index) => index < tables.files.length);
  const objects = numbersOf(files.map((index) => tables.files[index]?.object));
  return { blocks, selected: { descriptors: indices, files, objects } };
}

/** Every open file description, and who holds it. */
export function files(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const indices = filesOf(scope);
  const holders = holdersOf(scope);
  const rows = indices.flatMap((index) => {
    const file = tables.files[index];
    if (file === undefined) return [];
    return [[`#${index}`, file.kind, openFlagNames(file.flags), String(file.pos), holders.get(index) ?? "-", fileText(checkpoint, file)]];
  });
  const columns = [
    { title: "FILE", align: "right" },
    { title: "KIND" },
    { title: "FLAGS" },
    { title: "POS", align: "right" },
    { title: "HELD AS" },
    { title: "WHAT" },
  ] as const;
  const objects = indices.flatMap((index) => tables.files[index]?.object ?? []);
  const isShown = new Set(indices);
  const locks = tables.fileLocks.flatMap(({ file }, index) => (isShown.has(file) ? [index] : []));
  return {
    blocks: [{ columns, rows }, ...(locks.length > 0 ? [{ lines: locks.map((index) => lockText(scope, index)) }] : [])],
    selected: { files: indices, objects: [...new Set(objects)].filter((row) => row < tables.objects.length), fileLocks: locks },
  };
}

/** `#7: posix write lock of bytes 5 to 14 of /var/x, held by 4711`. */
function lockText({ checkpoint }: Scope, index: number): string {
  const { tables } = checkpoint;
  const lock = tables.fileLocks[index] as FileLockRow;
  const isWhole = lock.kind === "flock" || lock.kind === "lease" || (lock.start === 0n && lock.length === 0n);
  const range = isWhole ? "" : ` of bytes ${lock.start} to ${lock.length === 0n ? "the end" : lock.start + lock.length - 1n}`;
  const what = lock.kind === "lease" ? `${lock.type} lease` : `${lock.kind} ${lock.type} lock${range}`;
  const state = lock.target === lock.type ? "" : ", being broken";
  const owner = lock.task === null ? "" : `, held by ${tables.tasks[lock.task]?.pid ?? "?"}`;
  return `#${lock.file}: ${what} of ${fileText(checkpoint, tables.files[lock.file])}${owner}${state}`;
}
