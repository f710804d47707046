// SPDX-License-Identifier: Apache-2.0
/** The mounts of the mount namespaces of the tree's own, and what is in its tmpfs. */
import { engineFiles } from "../../model/own-namespaces.js";
import { deletedSuffix } from "../../model/mount-paths.js";
import type { DumpContext } from "../context.js";
import { refusal } from "../refusal.js";
import { type MountInfo, mountInfoOf } from "./mountinfo.js";
import { collectFile, collectRemoved, collectTmpfs } from "./tmpfs.js";
import type { MountSpace } from "./view.js";
import { directoryBelow, hasOwnRoot, type PlannedMount, planMounts } from "./mounts.js";

/** Fills the tables of one namespace after the other, that of the root first. */
export class MountCollector {
  readonly #planned: PlannedMount[] = [];
  #ours: readonly MountInfo[] | undefined;

  constructor(
    private readonly context: DumpContext,
    /** Names of mounts of outside by their points. */
    private readonly externals: ReadonlyMap<string, string>,
  ) {}

  collect({ process, namespace, mounts }: MountSpace): void {
    const { tables, blockers } = this.context;
    const base = this.#planned.length;
    const before = [...this.#planned];
    // The paths are those that the root of the tree knows.
    const isFirst = base === 0;
    this.#ours ??= mountInfoOf("self");
    const planned = planMounts(
      { theirs: [...mounts.values()], ours: this.#ours, externals: isFirst ? this.externals : new Map(), before },
      namespace,
    );
    this.#planned.push(...planned);
    const refuseMount = (problem: string): void =>
      blockers.add(refusal("mount", `process ${process.pid} (${process.name}): ${problem}`, { hint: "Unmount it there, and dump again." }));
    const isOwnRoot = hasOwnRoot(this.#planned);
    const root = this.#planned[0];
    const origin = planned[0]?.row.origin;
    if (!isOwnRoot && origin !== "kept" && origin !== "changed") {
      const who = `process ${process.pid} (${process.name})`;
      throw refusal("mount-namespace", `${who} has another root directory than the root of the tree, which has the machine's`, {
        hint: "Dump a part of the tree that has the same one.",
      });
    }
    const filled: number[] = [];
    tables.mounts.push(...planned.map(({ row }) => row));
    for (const [offset, { row, problem }] of planned.entries()) {
      const index = base + offset;
      if (problem !== undefined) {
        refuseMount(problem);
      } else if (row.root.endsWith(deletedSuffix)) {
        if (row.sameAs === null) refuseMount(`${row.point}: a mount of a file or directory that was removed`);
        else blockers.attempt(() => collectRemoved(this.context, process, index));
      } else if (row.origin === "made" && (row.fsType === "tmpfs" || row.fsType === "ramfs")) {
        filled.push(index);
      } else if (isOwnRoot && row.origin === "bind" && row.sameAs === null && (row.source === "" || engineFiles.has(row.point))) {
        const isStored = blockers.attempt(() => collectFile(this.context, index));
        if (isStored === false && row.source === "") refuseMount(`${row.point}: a part of a tmpfs that is mounted nowhere else`);
      } else if (row.origin === "bind" && row.sameAs === null && row.source === "") {
        refuseMount(`${row.point}: a part of a tmpfs that is mounted nowhere else`);
      }
    }
    const below = isFirst && root?.row.origin === "rootfs" ? directoryBelow(root.info) : undefined;
    if (below !== undefined) blockers.attempt(() => collectTmpfs(this.context, process, 0, below));
    for (const index of filled) blockers.attempt(() => collectTmpfs(this.context, process, index));
  }
}
