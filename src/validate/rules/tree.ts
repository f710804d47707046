// SPDX-License-Identifier: Apache-2.0
/** Rules about processes and threads. */
import type { TaskRow } from "../../gen/tables.js";
import type { Problem } from "../finding.js";
import { type ModelContext, type ModelRule, modelRule, taskName } from "../model-context.js";

/** Largest pid the kernel can give (PID_MAX_LIMIT on 64 bit). */
const pidLimit = 1 << 22;

function* twice(
  _context: ModelContext,
  numbers: Iterable<readonly [number, number, "tasks" | "threads"]>,
  field: string,
): Generator<Problem> {
  const seen = new Map<number, number>();
  for (const [row, number, table] of numbers) {
    const first = seen.get(number);
    if (first === undefined) seen.set(number, row);
    else
      yield {
        message: `${field} ${number} is also that of ${table}[${first}]`,
        at: { table, row, field },
        expected: "a number of its own",
        actual: String(number),
      };
  }
}

export const treeRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "tree.one-root",
      facet: "tree",
      summary: "One task has no parent, and it is the checkpoint's root task.",
      spec: "SPEC 5.1, 5.2",
    },
    function* ({ tables }) {
      const roots = [...tables.tasks.entries()].filter(([, task]) => task.parent === null).map(([row]) => row);
      if (roots.length === 0) {
        yield {
          message: tables.tasks.length === 0 ? "there is no task" : "every task has a parent",
          place: { path: "tasks" },
          expected: "one root",
          actual: "none",
        };
        return;
      }
      for (const row of roots.slice(1)) {
        yield {
          message: `task ${tables.tasks[row]?.pid} has no parent, but ${tables.tasks[roots[0] ?? 0]?.pid} is the root`,
          at: { table: "tasks", row, field: "parent" },
        };
      }
      const named = tables.checkpoint[0]?.rootTask;
      if (named !== undefined && named < tables.tasks.length && named !== roots[0]) {
        yield {
          message: "root_task has a parent",
          at: { table: "checkpoint", row: 0, field: "root_task" },
          expected: String(roots[0]),
          actual: String(named),
        };
      }
    },
  ),
  modelRule(
    {
      code: "tree.parent-first",
      facet: "tree",
      summary: "Parents come before their children, so that there are no cycles.",
      spec: "SPEC 5.2",
    },
    function* (context) {
      for (const [row, task] of context.tables.tasks.entries()) {
        if (task.parent === null || task.parent < row) continue;
        yield {
          message: `task ${taskName(context, row)} comes before its parent`,
          at: { table: "tasks", row, field: "parent" },
          expected: `below ${row}`,
          actual: String(task.parent),
        };
      }
    },
  ),
  modelRule(
    { code: "tree.pid-range", facet: "tree", summary: "Process and thread ids are numbers that the kernel gives.", spec: "SPEC 5.2, 5.3" },
    function* ({ tables }) {
      for (const [row, { pid }] of tables.tasks.entries()) {
        if (pid < 1 || pid > pidLimit)
          yield {
            message: "this is not a process id",
            at: { table: "tasks", row, field: "pid" },
            expected: `1 to ${pidLimit}`,
            actual: String(pid),
          };
      }
      for (const [row, { tid }] of tables.threads.entries()) {
        if (tid < 1 || tid > pidLimit)
          yield {
            message: "this is not a thread id",
            at: { table: "threads", row, field: "tid" },
            expected: `1 to ${pidLimit}`,
            actual: String(tid),
          };
      }
    },
  ),
  modelRule({ code: "tree.pid-twice", facet: "tree", summary: "No two tasks have the same pid.", spec: "SPEC 5.2" }, function* (context) {
    yield* twice(
      context,
      [...context.tables.tasks.entries()].map(([row, { pid }]) => [row, pid, "tasks"] as const),
      "pid",
    );
  }),
  modelRule(
    { code: "tree.tid-twice", facet: "threads", summary: "No two threads have the same tid.", spec: "SPEC 5.3" },
    function* (context) {
      yield* twice(
        context,
        [...context.tables.threads.entries()].map(([row, { tid }]) => [row, tid, "threads"] as const),
        "tid",
      );
    },
  ),
  modelRule(
    { code: "tree.ppid", severity: "warning", facet: "tree", summary: "ppid is the pid of the parent in the tree.", spec: "SPEC 5.2" },
    function* (context) {
      const { tables } = context;
      for (const [row, task] of tables.tasks.entries()) {
        const parent = task.parent === null ? undefined : tables.tasks[task.parent];
        if (parent === undefined || parent.pid === task.ppid || task.ppid === 0) continue;
        yield {
          message: `ppid of ${taskName(context, row)} is not its parent's pid`,
          at: { table: "tasks", row, field: "ppid" },
          expected: String(parent.pid),
          actual: String(task.ppid),
        };
      }
    },
  ),
  modelRule(
    {
      code: "tree.session",
      facet: "tree",
      summary: "A session's or group's leader leads its own session; a session leader also leads its group.",
      spec: "setsid(2), setpgid(2)",
    },
    function* (context) {
      const { tables } = context;
      const byPid = new Map(tables.tasks.map((task) => [task.pid, task] as const));
      for (const [row, task] of tables.tasks.entries()) {
        const leader = byPid.get(task.sid);
        if (leader !== undefined && leader.sid !== leader.pid) {
          yield {
            message: `${taskName(context, row)} is in session ${task.sid}, whose process is in session ${leader.sid}`,
            at: { table: "tasks", row, field: "sid" },
            expected: `a session, such as ${leader.sid}`,
            actual: String(task.sid),
          };
        }
        if (task.sid === task.pid && task.pgid !== task.pid) {
          yield {
            message: `session leader ${taskName(context, row)} is in another process group`,
            at: { table: "tasks", row, field: "pgid" },
            expected: String(task.pid),
            actual: String(task.pgid),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "tree.group-session", facet: "tree", summary: "All members of a process group are in one session.", spec: "setpgid(2)" },
    function* (context) {
      const sessions = new Map<number, TaskRow>();
      for (const [row, task] of context.tables.tasks.entries()) {
        if (task.pgid === 0) continue;
        const first = sessions.get(task.pgid);
        if (first === undefined) sessions.set(task.pgid, task);
        else if (first.sid !== task.sid) {
          yield {
            message: `process group ${task.pgid} of ${taskName(context, row)} is in two sessions`,
            at: { table: "tasks", row, field: "pgid" },
            expected: `session ${first.sid}`,
            actual: `session ${task.sid}`,
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "tree.zombie",
      facet: "tree",
      summary: "A zombie has neither memory nor descriptors; every other task has an address space.",
      spec: "SPEC 5.2",
    },
    function* (context) {
      const { checkpoint, tables, format } = context;
      for (const [row, task] of tables.tasks.entries()) {
        if (task.state !== "zombie") {
          if (task.mm === null)
            yield { message: `task ${taskName(context, row)} has no address space`, at: { table: "tasks", row, field: "mm" } };
          continue;
        }
        if (task.mm !== null)
          yield { message: `zombie ${task.pid} has an address space`, at: { table: "tasks", row, field: "mm" }, expected: "none" };
        if (checkpoint.descriptorsOf(row).length > 0)
          yield { message: `zombie ${task.pid} has descriptors in ${format}`, at: { table: "tasks", row } };
      }
    },
  ),
  modelRule(
    {
      code: "tree.stop-signal",
      facet: "tree",
      summary: "A stopped task says which signal stopped it.",
      spec: "SPEC 5.2",
      severity: "warning",
    },
    function* (context) {
      for (const [row, task] of context.tables.tasks.entries()) {
        if (task.state !== "stopped" || (task.stopSignal >= 1 && task.stopSignal <= 64)) continue;
        yield {
          message: `stopped task ${taskName(context, row)} has no valid stop signal`,
          at: { table: "tasks", row, field: "stop_signal" },
          expected: "1 to 64",
          actual: String(task.stopSignal),
        };
      }
    },
  ),
  modelRule(
    {
      code: "tree.leader",
      facet: "threads",
      summary: "Every task that is no zombie has threads, and the first is its leader, with the pid as tid.",
      spec: "SPEC 5.3",
    },
    function* (context) {
      const { checkpoint, tables } = context;
      for (const [row, task] of tables.tasks.entries()) {
        const first = checkpoint.threadsOf(row)[0];
        if (first === undefined) {
          if (task.state !== "zombie") yield { message: `task ${task.pid} has no thread`, at: { table: "tasks", row } };
        } else if (tables.threads[first]?.tid !== task.pid) {
          yield {
            message: `the first thread of ${taskName(context, row)} is not its leader`,
            at: { table: "threads", row: first, field: "tid" },
            expected: String(task.pid),
            actual: String(tables.threads[first]?.tid),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "tree.comm", facet: "tree", summary: "Thread names have at most 15 bytes.", spec: "prctl(2), PR_SET_NAME" },
    function* ({ tables }) {
      for (const [row, { comm }] of tables.threads.entries()) {
        const length = Buffer.byteLength(comm, "utf8");
        // Bytes that are no UTF-8 are escaped in text and may make it longer than it is.
        if (length > 15 && /^[\x20-\x7e]*$/.test(comm)) {
          yield {
            message: "the thread's name is too long",
            at: { table: "threads", row, field: "comm" },
            expected: "at most 15 bytes",
            actual: `${length} bytes`,
          };
        }
      }
    },
  ),
];
