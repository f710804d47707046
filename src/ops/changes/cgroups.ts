// SPDX-License-Identifier: Apache-2.0
/** Another policy for control groups than the dump's, and other roots. */
import { type CgroupMode, cgroupPolicyRow, type Tables } from "../../gen/tables.js";
import { rootFor } from "../../model/cgroup-root.js";

/** A checkpoint without control groups stays as it is: the tree is in those of whoever resumes it. */
export function changeCgroups(tables: Tables, mode: string | undefined, roots: readonly string[]): Tables {
  if (mode === "ignore") return { ...tables, cgroupPolicies: [], cgroupMembers: [] };
  // A set of CRIU's has groups without a policy: that is for whoever restores it.
  if (tables.cgroups.length === 0 || (mode === undefined && tables.cgroupPolicies.length === 0)) return tables;
  const cgroups = tables.cgroups.map((row) => ({ ...row, root: rootFor(row.hierarchy, roots) ?? row.root }));
  return {
    ...tables,
    cgroups,
    cgroupPolicies: mode === undefined ? tables.cgroupPolicies : [cgroupPolicyRow({ mode: mode as CgroupMode })],
  };
}
