// SPDX-License-Identifier: Apache-2.0
/**
 * The kinds of namespaces, a row each: what it is called, which links of /proc/PID/ns tell it, and its kind in the model.
 */
import type { NamespaceKind as ModelKind } from "../../gen/tables.js";
import type { IgnorableClass } from "../refusal.js";

export const namespaceKinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] as const;

export type NamespaceKind = (typeof namespaceKinds)[number];

export interface NamespaceRule {
  /** `network`, for messages; with "-namespace" it is the class of the refusal. */
  readonly title: string;
  /** What a thread's later children are put into, where that is told apart. */
  readonly forChildren?: string;
  /** Its kind in the model, where an image has rows for it. The clocks of a time namespace are in the row `checkpoint`. */
  readonly model?: ModelKind;
  /** What `--ignore` calls it, where leaving it out harms nobody. */
  readonly ignorable?: IgnorableClass;
}

export const namespaceRules: Readonly<Record<NamespaceKind, NamespaceRule>> = {
  // Left out, its capabilities would hold in the namespace of whoever resumes: they are left out with it.
  user: { title: "user", model: "user", ignorable: "user-namespace" },
  mnt: { title: "mount", model: "mount" },
  pid: { title: "pid", model: "pid", forChildren: "pid_for_children" },
  net: { title: "network", model: "network" },
  ipc: { title: "ipc", model: "ipc" },
  uts: { title: "uts", model: "uts", ignorable: "uts-namespace" },
  cgroup: { title: "cgroup", model: "cgroup", ignorable: "cgroup-namespace" },
  time: { title: "time", forChildren: "time_for_children" },
};
