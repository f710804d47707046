// SPDX-License-Identifier: Apache-2.0
/**
 * The kinds of namespaces, a row each: what it is called, which links of /proc/PID/ns tell it, and what becomes of a
 * tree in one that is not crimg's own. A kind that an image can keep gets `kept` here, with its table in the model and
 * its ops in src/lower.
 */
import type { IgnorableClass } from "../refusal.js";

export const namespaceKinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] as const;

export type NamespaceKind = (typeof namespaceKinds)[number];

export interface NamespaceRule {
  /** `network`, for messages; with "-namespace" it is the class of the refusal. */
  readonly title: string;
  /** What a thread's later children are put into, where that is told apart. */
  readonly forChildren?: string;
  /** Whether an image keeps it: then only a tree in several of them is refused. */
  readonly isKept: boolean;
  /** What `--ignore` calls it, where leaving it out harms nobody. */
  readonly ignorable?: IgnorableClass;
}

export const namespaceRules: Readonly<Record<NamespaceKind, NamespaceRule>> = {
  // Left out, its capabilities would hold in the namespace of whoever resumes: they are left out with it.
  user: { title: "user", isKept: false, ignorable: "user-namespace" },
  mnt: { title: "mount", isKept: false },
  pid: { title: "pid", isKept: false, forChildren: "pid_for_children" },
  net: { title: "network", isKept: false },
  ipc: { title: "ipc", isKept: false },
  uts: { title: "uts", isKept: false, ignorable: "uts-namespace" },
  cgroup: { title: "cgroup", isKept: false, ignorable: "cgroup-namespace" },
  time: { title: "time", isKept: true, forChildren: "time_for_children" },
};
