// SPDX-License-Identifier: Apache-2.0
/** Trees whose processes live in several namespaces of a kind: each is made by the root, and entered by who lives there. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { NamespaceKind } from "../../gen/tables.js";
import { namespacesOf } from "../../model/own-namespaces.js";
import { AT, CLONE, O } from "../constants.js";
import type { Lowering } from "../lowering.js";
import type { Slot } from "../operands.js";

const ofKind: Partial<Readonly<Record<NamespaceKind, { readonly flag: number; readonly file: string }>>> = {
  mount: { flag: CLONE.newns, file: "mnt" },
  uts: { flag: CLONE.newuts, file: "uts" },
};

/** Opens the namespace that this process is in, to be entered later. */
export function keepOwn(l: Lowering, kind: NamespaceKind, namespace: number): Slot {
  const b = l.builder;
  const fd = b.slot(`${kind} namespace ${namespace}`);
  b.syscall("openat", [AT.fdcwd, b.string(`/proc/self/ns/${ofKind[kind]?.file}`), O.rdonly | O.cloexec, 0], {
    store: fd,
    message: `open a ${kind} namespace of the tree`,
  });
  l.keepHigh(fd);
  l.inside.set(namespace, fd);
  return fd;
}

export function enterNamespace(l: Lowering, kind: NamespaceKind, namespace: number): void {
  const fd = l.inside.get(namespace);
  const flag = ofKind[kind]?.flag;
  if (fd === undefined || flag === undefined) {
    throw new CrimgError("lower.namespaces", `no resume makes the ${kind} namespace ${namespace}`, { path: `namespaces[${namespace}]` });
  }
  l.builder.syscall("setns", [fd, flag], { message: `enter a ${kind} namespace of the tree` });
}

/** Ops of a task: it goes where it lives. Its files are open, and it has done what it needs its parent's /proc for. */
export function enterNamespacesOfTask(l: Lowering, task: number): void {
  if (l.own === undefined || l.own.several.size === 0) return;
  const set = namespacesOf(l.checkpoint.tables, task);
  for (const kind of l.own.several) {
    const namespace = set[kind];
    if (namespace !== undefined) enterNamespace(l, kind, namespace);
  }
}

/** Ops of the first process in the namespaces: what an object's path is of is entered meanwhile. */
export function withinMounts(l: Lowering): <Result>(object: number, build: () => Result) => Result {
  const namespaces = new Map(l.checkpoint.tables.objectNamespaces.map(({ object, namespace }) => [object, namespace]));
  let isInside = false;
  return (object, build) => {
    const namespace = namespaces.get(object);
    const first = l.own?.set.mount;
    if (namespace === undefined || first === undefined || isInside) return build();
    enterNamespace(l, "mount", namespace);
    isInside = true;
    const result = build();
    isInside = false;
    enterNamespace(l, "mount", first);
    return result;
  };
}
