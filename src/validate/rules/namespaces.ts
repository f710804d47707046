// SPDX-License-Identifier: Apache-2.0
/** Rules about namespaces of the tree's own, and what is mounted in them. */
import { differentKinds, namespacesOf, sourceOfMount } from "../../model/own-namespaces.js";
import { type ModelRule, modelRule, taskName } from "../model-context.js";

export const namespaceRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "namespace.owner",
      facet: "tree",
      summary: "A namespace belongs to a user namespace that stands before it.",
      spec: "SPEC 5.120",
    },
    function* ({ tables }) {
      for (const [row, { owner }] of tables.namespaces.entries()) {
        if (owner === null || (owner < row && tables.namespaces[owner]?.kind === "user")) continue;
        yield {
          message: `namespace ${row} belongs to what is no user namespace before it`,
          at: { table: "namespaces", row, field: "owner" },
          expected: "an earlier row of kind user",
          actual: `namespaces[${owner}]`,
        };
      }
    },
  ),
  modelRule(
    {
      code: "namespace.member",
      facet: "tree",
      summary: "A process lives in one namespace of each kind, and the whole tree in the same ones, but for mount and uts namespaces.",
      spec: "SPEC 5.121",
    },
    function* (context) {
      const { tables } = context;
      const seen = new Set<string>();
      for (const [row, { task, namespace }] of tables.taskNamespaces.entries()) {
        const key = `${task}:${tables.namespaces[namespace]?.kind}`;
        if (seen.has(key)) {
          yield {
            message: `${taskName(context, task)} lives in two ${tables.namespaces[namespace]?.kind} namespaces`,
            at: { table: "taskNamespaces", row },
          };
        }
        seen.add(key);
      }
      if (tables.taskNamespaces.length === 0) return;
      const root = namespacesOf(tables, tables.checkpoint[0]?.rootTask ?? 0);
      for (const [task, { state }] of tables.tasks.entries()) {
        const other = differentKinds(root, namespacesOf(tables, task)).find(({ isMade }) => !isMade)?.kind;
        if (state === "zombie" || other === undefined) continue;
        yield {
          message: `${taskName(context, task)} lives in another ${other} namespace than the root of the tree, which no resume makes`,
          at: { table: "tasks", row: task },
        };
      }
    },
  ),
  modelRule(
    {
      code: "namespace.first-process",
      facet: "tree",
      summary: "The root of a tree with a pid namespace of its own is process 1.",
      spec: "SPEC 5.121",
    },
    function* ({ tables }) {
      const root = tables.checkpoint[0]?.rootTask ?? 0;
      const pid = tables.tasks[root]?.pid;
      if (namespacesOf(tables, root).pid === undefined || pid === 1 || pid === undefined) return;
      yield {
        message: `the root is process ${pid} of a pid namespace of its own`,
        at: { table: "tasks", row: root, field: "pid" },
        expected: "1",
        actual: String(pid),
      };
    },
  ),
  modelRule(
    {
      code: "mount.order",
      facet: "tree",
      summary:
        "A mount stands behind what it is mounted on, in the same namespace, at an absolute path; what it is a part of stands for itself.",
      spec: "SPEC 5.123",
    },
    function* ({ tables }) {
      for (const [row, mount] of tables.mounts.entries()) {
        const { parent, sameAs } = mount;
        if (parent !== null && (parent >= row || tables.mounts[parent]?.namespace !== mount.namespace))
          yield { message: `the mount at ${mount.point} comes before mounts[${parent}]`, at: { table: "mounts", row, field: "parent" } };
        if (sameAs !== null && sourceOfMount(tables.mounts, row) === undefined)
          yield {
            message: `the mount at ${mount.point} is a part of none of its filesystem`,
            at: { table: "mounts", row, field: "sameAs" },
          };
        if (!mount.point.startsWith("/"))
          yield { message: `the mount point ${mount.point} is no absolute path`, at: { table: "mounts", row, field: "point" } };
      }
    },
  ),
  modelRule(
    {
      code: "mount.entry",
      facet: "tree",
      summary: "A file of a mount lies in it: its path is relative, without '..'.",
      spec: "SPEC 5.124",
    },
    function* ({ tables }) {
      for (const [row, { path }] of tables.mountEntries.entries()) {
        if (!path.startsWith("/") && !path.split("/").includes("..")) continue;
        yield { message: `the file ${path} does not lie in its mount`, at: { table: "mountEntries", row, field: "path" } };
      }
    },
  ),
];
