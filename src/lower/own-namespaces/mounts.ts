// SPDX-License-Identifier: Apache-2.0
/**
 * Mounts of a mount namespace of the tree's own. Ops of the first process in it: the namespace is a copy of the caller's
 * mounts at first.
 *
 * A tree with the machine's root keeps the machine's mounts, and what differs is changed. One with a root of its own (a
 * container) gets all its mounts below that directory, which then becomes the root; nothing of the machine stays in reach.
 */
import { CrimgError } from "../../errors/crimg-error.js";
import { type MountRow, mountSuperFlagsBits } from "../../gen/tables.js";
import { AT, CLONE, O } from "../constants.js";
import type { Lowering } from "../lowering.js";
import {
  externalSource,
  holdsContent,
  type Indexed,
  MNT_DETACH,
  mountAnew,
  MS,
  remountReadOnly,
  scratch,
  setAttributes,
} from "./mount-ops.js";
import { makeOwnRoot, type OtherMounts } from "./own-root.js";
import { enterNamespace, keepOwn } from "./several.js";
import { fillTmpfs } from "./tmpfs.js";

export function makeMounts(l: Lowering, namespace: number): void {
  const rows = l.checkpoint.tables.mounts.map((row, index) => ({ row, index })).filter(({ row }) => row.namespace === namespace);
  const root = rows.find(({ row }) => row.parent === null && row.origin !== "removed");
  if (root === undefined) return;
  l.builder.about("mounts of the tree", () => {
    if (root.row.origin === "rootfs" || root.row.origin === "made") makeOwnRoot(l, rows, otherNamespaces(l, namespace));
    else {
      makeOthersOnMachinesRoot(l, namespace);
      onMachinesRoot(l, rows);
    }
  });
}

/** Each is a copy of the machine's mounts as they are at first, changed to what it was. */
function makeOthersOnMachinesRoot(l: Lowering, first: number): void {
  const others = otherNamespaces(l, first);
  if (others.length === 0) return;
  const b = l.builder;
  const before = b.slot("current directory before");
  b.syscall("openat", [AT.fdcwd, b.string("."), O.path | O.cloexec, 0], { store: before, message: "open the current directory" });
  keepOwn(l, "mount", first);
  for (const { namespace, rows } of others) {
    b.syscall("unshare", [CLONE.newns], { message: "make another mount namespace of the tree" });
    keepOwn(l, "mount", namespace);
    onMachinesRoot(l, rows);
    enterNamespace(l, "mount", first);
  }
  b.syscall("fchdir", [before], { message: "return to the current directory" });
  b.syscall("close", [before]);
}

/** Mounts of namespaces that only some processes of the tree live in. */
function otherNamespaces(l: Lowering, first: number): OtherMounts[] {
  const others = new Map<number, Indexed[]>();
  l.checkpoint.tables.mounts.forEach((row, index) => {
    if (row.namespace === first) return;
    const rows = others.get(row.namespace);
    if (rows === undefined) others.set(row.namespace, [{ row, index }]);
    else rows.push({ row, index });
  });
  return [...others].map(([namespace, rows]) => ({ namespace, rows }));
}

function onMachinesRoot(l: Lowering, rows: readonly Indexed[]): void {
  const b = l.builder;
  const kept = rows.filter(({ row }) => row.origin === "kept" || row.origin === "changed");
  if (kept.every(({ row }) => row.peers === 0 && row.master === 0)) {
    b.syscall("mount", [0, b.string("/"), 0, MS.rec | MS.private, 0], { message: "make mounts private" });
  } else {
    for (const { row } of kept) {
      if (row.peers === 0) setPropagation(l, row.point, row.master === 0 ? MS.private : MS.slave);
    }
  }
  for (const { row } of rows) if (row.origin === "removed") unmount(l, row);
  for (const { row, index } of rows) {
    if (row.origin === "changed") setFlags(l, row.point, row);
    else if (row.origin !== "kept" && row.origin !== "removed") mountOne(l, row, index);
  }
}

/** Whoever resumes may lack it as well. */
function unmount(l: Lowering, row: MountRow): void {
  const b = l.builder;
  const result = b.slot(`result of unmounting ${row.point}`);
  const done = b.label("unmounted");
  b.syscall("umount2", [b.string(row.point), MNT_DETACH], { store: result, expect: "any" });
  for (const good of [0, -2, -22]) b.jumpIf(result, "eq", good, done);
  b.fail(`unmount ${row.point}, which the tree did not have`, undefined, result);
  b.place(done);
}

/** Paths are from the machine's root. */
function mountOne(l: Lowering, row: MountRow, index: number): void {
  const b = l.builder;
  switch (row.origin) {
    case "made": {
      const skip = b.label("not mounted");
      mountAnew(l, { row, index }, row.point, skip);
      if (holdsContent(l, index)) {
        fillTmpfs(l, index, row.point);
        setFlags(l, row.point, row);
        if ((row.superFlags & 1) !== 0) remountReadOnly(l, row, row.point);
      }
      setPropagation(l, row.point, propagationOf(row));
      b.place(skip);
      return;
    }
    case "bind":
    case "external": {
      const hasBytes = row.origin === "bind" && holdsContent(l, index);
      const source = hasBytes ? `${scratch}/${index}` : row.sameAs === null ? row.source : pathOf(l, row);
      if (hasBytes) {
        fillTmpfs(l, index, source);
      }
      if (row.origin === "external" && row.sameAs === null && externalSource(row, index) === undefined) return;
      const skip = b.label("not mounted");
      // The console of a container is a terminal of its own, which the engine held: it has that of the caller, if any.
      const isCgroup = row.fsType.startsWith("cgroup");
      const isTerminal = row.sameAs !== null && l.checkpoint.tables.mounts[row.sameAs]?.fsType === "devpts";
      const hint = "what was mounted there is gone: it must exist where the image is resumed";
      b.syscall(
        "mount",
        [b.string(source), b.string(row.point), 0, MS.bind, 0],
        isCgroup || isTerminal ? { orElse: skip } : { message: `bind ${source} to ${row.point}`, hint },
      );
      setFlags(l, row.point, row);
      setPropagation(l, row.point, propagationOf(row));
      b.place(skip);
      return;
    }
    default:
      throw new CrimgError("lower.mount", `${row.point}: a mount that is ${row.origin} cannot be made here`, {
        path: `mounts[${index}].origin`,
      });
  }
}

/** Where the part that a bind mount shows lies in an earlier mount. */
function pathOf(l: Lowering, row: MountRow): string {
  const earlier = row.sameAs === null ? undefined : l.checkpoint.tables.mounts[row.sameAs];
  if (earlier === undefined) throw new CrimgError("lower.reference", `there is no mount ${row.sameAs}`, { path: "mounts" });
  const rest = earlier.root === "/" ? row.root : row.root.slice(earlier.root.length);
  return `${earlier.point === "/" ? "" : earlier.point}${rest === "" || rest === "/" ? "" : rest}` || "/";
}

function propagationOf(row: MountRow): number {
  if (row.superFlags >= mountSuperFlagsBits.unbindable) return MS.unbindable;
  return row.peers !== 0 ? MS.shared : MS.private;
}

function setPropagation(l: Lowering, path: string, how: number): void {
  const b = l.builder;
  b.syscall("mount", [0, b.string(path), 0, how, 0], { message: `set the propagation of ${path}` });
}

/** Flags that a mount was born with cannot be taken away in every user namespace; whatever it lacks is set. */
function setFlags(l: Lowering, path: string, row: Pick<MountRow, "flags">): void {
  setAttributes(l, [AT.fdcwd, l.builder.string(path), 0], row, path);
}
