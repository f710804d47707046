// SPDX-License-Identifier: Apache-2.0
/** The mounts of a mount namespace of the tree's own, and what is in its tmpfs. */
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";
import { mountInfoOf } from "./mountinfo.js";
import { collectTmpfs } from "./tmpfs.js";
import { planMounts } from "./mounts.js";

export function collectMounts(context: DumpContext, root: DumpedProcess, namespace: number): void {
  const { tables, blockers } = context;
  const base = tables.mounts.length;
  const planned = planMounts(mountInfoOf(root.pid), mountInfoOf("self"), namespace);
  const filled: number[] = [];
  for (const { row, problem } of planned) {
    const at = (index: number | null): number | null => (index === null ? null : index + base);
    const index = tables.mounts.push({ ...row, parent: at(row.parent), sameAs: at(row.sameAs) }) - 1;
    if (problem !== undefined) {
      blockers.add(refusal("mount", `process ${root.pid} (${root.name}): ${problem}`, { hint: "Unmount it there, and dump again." }));
    } else if (row.origin === "made" && (row.fsType === "tmpfs" || row.fsType === "ramfs")) {
      filled.push(index);
    }
  }
  for (const index of filled) blockers.attempt(() => collectTmpfs(context, root, index));
}
