// SPDX-License-Identifier: Apache-2.0
/** Rules about credentials, limits and scheduling. */
import { type ModelRule, hex, modelRule, taskName } from "../model-context.js";

export const identityRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "cred.capabilities",
      facet: "credentials",
      summary: "Effective and ambient capabilities are among the permitted ones.",
      spec: "capabilities(7)",
    },
    function* ({ tables }) {
      for (const [row, cred] of tables.creds.entries()) {
        const extra = cred.capEffective & ~cred.capPermitted;
        if (extra !== 0n)
          yield {
            message: "effective capabilities are not permitted",
            at: { table: "creds", row, field: "cap_effective" },
            expected: `among ${hex(cred.capPermitted)}`,
            actual: hex(cred.capEffective),
          };
        const ambient = cred.capAmbient & ~(cred.capPermitted & cred.capInheritable);
        if (ambient !== 0n)
          yield {
            message: "ambient capabilities are not permitted and inheritable",
            at: { table: "creds", row, field: "cap_ambient" },
            actual: hex(cred.capAmbient),
          };
      }
    },
  ),
  modelRule(
    {
      code: "cred.groups",
      facet: "credentials",
      summary: "Supplementary groups are whole numbers of four bytes, at most 65536 of them.",
      spec: "setgroups(2)",
    },
    function* ({ tables }) {
      for (const [row, { groups }] of tables.creds.entries()) {
        if (groups.length % 4 === 0 && groups.length <= 4 * 65536) continue;
        yield { message: "the list of groups is damaged", at: { table: "creds", row, field: "groups" }, actual: `${groups.length} bytes` };
      }
    },
  ),
  modelRule(
    { code: "limit.order", facet: "limits", summary: "A soft limit is not above its hard limit.", spec: "setrlimit(2)" },
    function* (context) {
      for (const [row, { task, resource, soft, hard }] of context.tables.rlimits.entries()) {
        if (soft <= hard) continue;
        yield {
          message: `the soft limit ${resource} of ${taskName(context, task)} is above the hard one`,
          at: { table: "rlimits", row, field: "soft" },
          expected: `at most ${hard}`,
          actual: String(soft),
        };
      }
    },
  ),
  modelRule({ code: "limit.twice", facet: "limits", summary: "A process has each limit once.", spec: "SPEC 5.5" }, function* (context) {
    const seen = new Set<string>();
    for (const [row, { task, resource }] of context.tables.rlimits.entries()) {
      if (seen.has(`${task} ${resource}`))
        yield {
          message: `${taskName(context, task)} has two limits ${resource}`,
          at: { table: "rlimits", row, field: "resource" },
          actual: resource,
        };
      seen.add(`${task} ${resource}`);
    }
  }),
  modelRule(
    {
      code: "thread.directories",
      facet: "fs",
      summary: "Threads with directories of their own are not the first of their process, and have them once.",
      spec: "SPEC 5.30",
    },
    function* ({ tables }) {
      const seen = new Set<number>();
      for (const [row, { thread }] of tables.threadDirectories.entries()) {
        const { task, tid = 0 } = tables.threads[thread] ?? {};
        const at = { table: "threadDirectories", row, field: "thread" } as const;
        if (tid === tables.tasks[task ?? -1]?.pid) yield { message: `thread ${tid} is the first of its process`, at };
        if (seen.has(thread)) yield { message: `thread ${tid} has two rows of directories`, at };
        seen.add(thread);
      }
    },
  ),
  modelRule(
    {
      code: "sched.values",
      facet: "scheduling",
      summary: "Nice values are −20 to 19; real-time classes have a priority of 1 to 99, others 0.",
      spec: "sched(7)",
    },
    function* ({ tables }) {
      for (const [row, thread] of tables.threads.entries()) {
        if (thread.nice < -20 || thread.nice > 19)
          yield {
            message: `thread ${thread.tid} cannot have this nice value`,
            at: { table: "threads", row, field: "nice" },
            expected: "-20 to 19",
            actual: String(thread.nice),
          };
        const isRealTime = thread.schedPolicy === "fifo" || thread.schedPolicy === "rr";
        if (isRealTime ? thread.schedPriority < 1 || thread.schedPriority > 99 : thread.schedPriority !== 0) {
          yield {
            message: `thread ${thread.tid} cannot have this priority in class ${thread.schedPolicy}`,
            at: { table: "threads", row, field: "sched_priority" },
            expected: isRealTime ? "1 to 99" : "0",
            actual: String(thread.schedPriority),
          };
        }
      }
    },
  ),
];
