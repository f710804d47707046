// SPDX-License-Identifier: Apache-2.0
/** What a checkpoint says about each facet, in a form that two of them can be compared by. */
import { createHash } from "node:crypto";
import { fileLosses } from "../../src/adapter/file-kinds.js";
import type { FacetName } from "../../src/adapter/format.js";
import type { DescriptorRow, Gpregs, OpenFileRow, TaskRow, ThreadRow, VmaRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { fileProjections } from "./file-kinds.js";

type Projection = (checkpoint: Checkpoint) => unknown;

const tasksOf = ({ tables }: Checkpoint): readonly TaskRow[] => tables.tasks;
const perTask = (checkpoint: Checkpoint, tell: (task: TaskRow, index: number) => unknown) =>
  Object.fromEntries(tasksOf(checkpoint).map((task, index) => [task.pid, tell(task, index)]));
const perThread = (checkpoint: Checkpoint, tell: (thread: ThreadRow) => unknown) =>
  Object.fromEntries(checkpoint.tables.threads.map((thread) => [thread.tid, tell(thread)]));
const vmasOf = (checkpoint: Checkpoint, { mm }: TaskRow) =>
  checkpoint.vmasOf(mm ?? -1).map((index) => checkpoint.tables.vmas[index] as VmaRow);

/** Hash of the bytes of mappings of these kinds; what cannot be had is told as such. */
function contents(checkpoint: Checkpoint, task: TaskRow, kinds: readonly VmaRow["kind"][]): unknown {
  if (task.mm === null) return [];
  const view = new MemoryView(checkpoint, task.mm);
  try {
    return vmasOf(checkpoint, task)
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ start, end, prot }) => {
        const hash = createHash("sha256");
        for (const run of view.runs(start, end)) {
          const bytes = new Uint8Array(Number(run.length));
          if (run.origin.kind === "absent") bytes.fill(0xee);
          else view.readRun(run, bytes);
          hash.update(bytes);
        }
        return { start, end, prot, bytes: hash.digest("hex") };
      });
  } finally {
    view.close();
  }
}

/** Descriptors whose files belong to a facet. */
function descriptorsOf(facet: FacetName): Projection {
  return (checkpoint) =>
    perTask(checkpoint, (_task, index) => {
      const { tables } = checkpoint;
      return checkpoint
        .descriptorsOf(index)
        .map((row) => tables.descriptors[row] as DescriptorRow)
        .map(({ fd, flags, file }) => ({ fd, flags, file: tables.files[file] as OpenFileRow }))
        .filter(({ file }) => fileLosses[file.kind].facet === facet)
        .map(({ fd, flags, file }) => ({
          fd,
          flags,
          kind: file.kind,
          mode: file.flags,
          what: fileProjections[file.kind](checkpoint, file),
        }))
        .sort((a, b) => a.fd - b.fd);
    });
}

/**
 * Registers of an interrupted system call in the form that makes it again: formats keep either form, and resuming makes
 * no difference (spec: thread.regs).
 */
function restartable(regs: Gpregs): Gpregs {
  const isInterrupted = regs.origAx < 1n << 63n && [512n, 513n, 514n, 516n].includes((1n << 64n) - regs.ax);
  return isInterrupted ? { ...regs, ax: regs.origAx, ip: regs.ip - 2n } : regs;
}

/** The x87, SSE and AVX state; a shorter area means that the rest is in its initial state. */
function fpuOf({ xstate }: ThreadRow): string {
  const bytes = Buffer.alloc(832);
  bytes.set(xstate.subarray(0, 832));
  bytes.fill(0, 416, 576);
  return bytes.toString("hex");
}

export const projections: Readonly<Partial<Record<FacetName, Projection>>> = {
  tree: (checkpoint) =>
    perTask(checkpoint, ({ pid, parent, ppid, pgid, sid, state }) => ({
      // The parent of the root is no part of the tree.
      pid,
      parent: parent === null ? null : checkpoint.tables.tasks[parent]?.pid,
      ppid: parent === null ? null : ppid,
      pgid,
      sid,
      state,
    })),
  threads: (checkpoint) =>
    perTask(checkpoint, (_task, index) =>
      checkpoint.threadsOf(index).map((row) => ({ tid: checkpoint.tables.threads[row]?.tid, comm: checkpoint.tables.threads[row]?.comm })),
    ),
  registers: (checkpoint) => perThread(checkpoint, ({ regs }) => restartable(regs)),
  fpu: (checkpoint) => perThread(checkpoint, fpuOf),
  memory: (checkpoint) => perTask(checkpoint, (task) => contents(checkpoint, task, ["anon_private", "file_private"])),
  "shared-memory": (checkpoint) => perTask(checkpoint, (task) => contents(checkpoint, task, ["anon_shared"])),
  "mapped-files": (checkpoint) =>
    perTask(checkpoint, (task) =>
      vmasOf(checkpoint, task)
        .filter(({ kind }) => kind === "file_private" || kind === "file_shared")
        .map(({ kind, start, offset, object }) => ({ kind, start, offset, path: checkpoint.tables.objects[object ?? -1]?.path })),
    ),
  files: descriptorsOf("files"),
  pipes: descriptorsOf("pipes"),
  sockets: descriptorsOf("sockets"),
  "event-fds": descriptorsOf("event-fds"),
  signals: (checkpoint) => ({
    masks: perThread(checkpoint, ({ sigMask }) => sigMask),
    actions: perTask(checkpoint, (_task, index) =>
      checkpoint.tables.signalActions
        .filter(({ task, handler, flags, mask }) => task === index && (handler !== 0n || flags !== 0n || mask !== 0n))
        .map(({ signal, handler, flags, restorer, mask }) => ({ signal, handler, flags, restorer, mask }))
        .sort((a, b) => a.signal - b.signal),
    ),
  }),
  timers: (checkpoint) =>
    perTask(checkpoint, (_task, index) =>
      checkpoint.tables.intervalTimers
        .filter(({ task, valueUs }) => task === index && valueUs !== 0n)
        .map(({ which, valueUs, intervalUs }) => ({ which, valueUs, intervalUs })),
    ),
  credentials: (checkpoint) => perThread(checkpoint, ({ creds }) => (creds === null ? null : checkpoint.tables.creds[creds])),
  limits: (checkpoint) =>
    perTask(checkpoint, (_task, index) =>
      checkpoint.tables.rlimits.filter(({ task }) => task === index).map(({ resource, soft, hard }) => ({ resource, soft, hard })),
    ),
  fs: (checkpoint) => perTask(checkpoint, ({ cwd, umask }) => ({ cwd: cwd === null ? null : checkpoint.tables.objects[cwd]?.path, umask })),
  scheduling: (checkpoint) => perThread(checkpoint, ({ schedPolicy, schedPriority, nice }) => ({ schedPolicy, schedPriority, nice })),
};
