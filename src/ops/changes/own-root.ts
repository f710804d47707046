// SPDX-License-Identifier: Apache-2.0
/** Where a tree with a mount namespace of its own finds its root directory and what is mounted from outside. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Loss, WriteOptions } from "../../adapter/format.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { MountRow, Tables } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { isOptionalMount } from "../../model/own-namespaces.js";
import { ownRootMount } from "../../model/root-files.js";
import type { WithRoot } from "./bundle-root.js";

export interface OwnRootChanges {
  /** Directory with the files of the tree's root. */
  readonly rootfs?: string;
  /** `NAME=PATH` each: what is mounted where a mount of that name, or at that point, was. */
  readonly mount?: readonly string[];
  /** The tree is resumed in the namespaces of whoever resumes it. */
  readonly here?: boolean;
  readonly onLoss?: (loss: Loss) => void;
}

export function changesRoot({ rootfs, mount, here }: OwnRootChanges): boolean {
  return rootfs !== undefined || (mount?.length ?? 0) > 0 || here === true;
}

/** The tar of a root is no directory: bundle-root.ts takes it. */
function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

const isRootfs = (row: MountRow): boolean => row.origin === "rootfs";

/** @throws CrimgError `usage.change` for a change that changes nothing */
export function changeRoot(tables: Tables, changes: OwnRootChanges): Tables {
  if (changes.here === true) return withoutNamespaces(tables, changes.onLoss);
  let { mounts } = tables;
  if (changes.rootfs !== undefined && !isFile(changes.rootfs)) {
    const source = directory(changes.rootfs);
    if (!mounts.some(isRootfs)) throw new CrimgError("usage.change", "--rootfs: the checkpoint has no root directory of its own");
    mounts = mounts.map((row) => (isRootfs(row) ? { ...row, source } : row));
  }
  for (const text of changes.mount ?? []) {
    const cut = text.indexOf("=");
    const [name, path] = [text.slice(0, cut), text.slice(cut + 1)];
    if (cut <= 0 || path === "") throw new CrimgError("usage.change", `--mount ${text}: expected NAME=PATH`);
    const isMeant = (row: MountRow): boolean =>
      (row.origin === "external" || row.origin === "bind" || row.origin === "made") && (row.name === name || row.point === name);
    if (!mounts.some(isMeant)) {
      const names = mounts.filter(({ origin }) => origin === "external").map((row) => row.name || row.point);
      throw new CrimgError("usage.change", `--mount ${text}: nothing of that name is mounted in the checkpoint`, {
        expected: names.join(", "),
      });
    }
    mounts = mounts.map((row) => (isMeant(row) ? { ...row, origin: "external", source: resolve(path), sameAs: null } : row));
  }
  return { ...tables, mounts };
}

function directory(path: string): string {
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isDirectory) {
    throw new CrimgError("usage.rootfs", `--rootfs ${path}: this is no directory`, {
      hint: "Give a directory with the root file system, or a tar of it.",
    });
  }
  return resolve(path);
}

/** What a tree loses with each namespace. */
const confinement: Readonly<Record<Tables["namespaces"][number]["kind"], string>> = {
  user: "it has the users and groups of this machine",
  mount: "it reaches the files of this machine",
  pid: "it sees and may signal processes of this machine",
  network: "it is in the network of this machine",
  ipc: "it shares System V IPC and message queues with this machine",
  uts: "it sees, and may set, the host name of this machine",
  cgroup: "it sees all control groups",
};

/** Says what confinement is lost. */
function withoutNamespaces(tables: Tables, onLoss: OwnRootChanges["onLoss"]): Tables {
  if (tables.namespaces.length === 0) throw new CrimgError("usage.change", "--here: the checkpoint has no namespaces of its own");
  const kinds = [...new Set(tables.namespaces.map(({ kind }) => kind))];
  onLoss?.({
    code: "tree.confinement",
    facet: "tree",
    count: kinds.length,
    text: `Without namespaces of its own the tree is less confined than it was: ${kinds.map((kind) => confinement[kind]).join("; ")}.`,
  });
  return {
    ...tables,
    namespaces: [],
    taskNamespaces: [],
    objectNamespaces: [],
    sysctls: [],
    idMaps: [],
    mounts: [],
    mountEntries: [],
    networkDevices: [],
    networkAddresses: [],
    networkRoutes: [],
  };
}

/** @throws CrimgError `namespaces.rootfs`, `namespaces.mount` if nobody knows what the tree's root or a mount of it is */
export function assertRootGiven({ mounts }: Tables): void {
  if (mounts.some((row) => isRootfs(row) && row.source === "")) {
    throw new CrimgError("namespaces.rootfs", "the tree has a root directory of its own, and the checkpoint does not hold its files", {
      hint:
        "Give a directory with them: --rootfs DIR. With --here it is resumed in the namespaces of whoever resumes it instead, less " +
        "confined than it was.",
    });
  }
  const missing = mounts.filter((row) => row.origin === "external" && row.source === "" && !isOptionalMount(row));
  if (missing.length > 0) {
    const names = missing.map((row) => row.name || row.point);
    throw new CrimgError("namespaces.mount", `the checkpoint does not hold what was mounted from outside at ${names.join(", ")}`, {
      hint: `Give it: ${names.map((name) => `--mount ${name}=PATH`).join(" ")}`,
    });
  }
}

/** The same with the files of its own root in it, if a tar of them was given, or all is to be in the image. */
export async function withRootFiles(
  checkpoint: Checkpoint,
  { rootfs, bundle }: Pick<OwnRootChanges, "rootfs"> & Pick<WriteOptions, "bundle">,
  isExecutable: boolean,
): Promise<WithRoot | undefined> {
  const tar = rootfs !== undefined && isFile(rootfs) ? rootfs : undefined;
  const isWanted = bundle === true && isExecutable && ownRootMount(checkpoint.tables) !== undefined;
  if (tar === undefined && !isWanted) return undefined;
  if (tar === undefined) assertRootGiven(checkpoint.tables);
  const { bundleRoot } = await import("./bundle-root.js");
  return await bundleRoot(checkpoint, tar, isWanted);
}
