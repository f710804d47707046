// SPDX-License-Identifier: Apache-2.0
/** The mounts of a mount namespace of the tree's own, and what is in its tmpfs. */
import { engineFiles } from "../../model/own-namespaces.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";
import { mountInfoOf } from "./mountinfo.js";
import { collectFile, collectTmpfs } from "./tmpfs.js";
import { planMounts } from "./mounts.js";

/** `externals`: names of mounts by their points. */
export function collectMounts(context: DumpContext, root: DumpedProcess, namespace: number, externals: ReadonlyMap<string, string>): void {
  const { tables, blockers } = context;
  const base = tables.mounts.length;
  const planned = planMounts(mountInfoOf(root.pid), mountInfoOf("self"), namespace, externals);
  const refuseMount = (problem: string): void =>
    blockers.add(refusal("mount", `process ${root.pid} (${root.name}): ${problem}`, { hint: "Unmount it there, and dump again." }));
  const hasOwnRoot = planned[0]?.row.origin === "rootfs";
  const filled: number[] = [];
  for (const { row, problem } of planned) {
    const at = (index: number | null): number | null => (index === null ? null : index + base);
    const index = tables.mounts.push({ ...row, parent: at(row.parent), sameAs: at(row.sameAs) }) - 1;
    if (problem !== undefined) {
      refuseMount(problem);
    } else if (row.origin === "made" && (row.fsType === "tmpfs" || row.fsType === "ramfs")) {
      filled.push(index);
    } else if (hasOwnRoot && row.origin === "bind" && row.sameAs === null && (row.source === "" || engineFiles.has(row.point))) {
      const isStored = blockers.attempt(() => collectFile(context, index));
      if (isStored === false && row.source === "") refuseMount(`${row.point}: a part of a tmpfs that is mounted nowhere else`);
    } else if (row.origin === "bind" && row.sameAs === null && row.source === "") {
      refuseMount(`${row.point}: a part of a tmpfs that is mounted nowhere else`);
    }
  }
  for (const index of filled) blockers.attempt(() => collectTmpfs(context, root, index));
}
