// SPDX-License-Identifier: Apache-2.0
/** What the formats of 2011 cannot hold of a checkpoint: one loss a kind, with the first objects by name. */
import type { FacetName } from "../adapter/format.js";
import type { LossList } from "../adapter/losses.js";
import type { NarrowFormat } from "../adapter/file-kind.js";
import { fileLosses } from "../adapter/file-kinds.js";
import type { OpenFileRow } from "../gen/tables.js";
import { vmaVmFlagsBits } from "../gen/tables.js";
import { isRegular } from "./vma.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { unusualStates } from "../state/states.js";

/** Losses of the records that both formats share: a task, its one thread, its areas. */
export function addProcessLosses(list: LossList, checkpoint: Checkpoint, tasks: readonly number[]): void {
  const { tables } = checkpoint;
  const isThere = new Set(tasks);
  const pidOf = (task: number): string => String(tables.tasks[task]?.pid ?? 0);
  const ofTasks = <Row extends { readonly task: number }>(rows: readonly Row[]): string[] =>
    rows.filter((row) => isThere.has(row.task)).map((row) => `process ${pidOf(row.task)}`);
  const threads = tables.threads.filter((thread) => isThere.has(thread.task));
  const leaders = tasks.flatMap((task) => {
    const row = tables.threads[checkpoint.threadsOf(task)[0] ?? -1];
    return row ? [row] : [];
  });
  const tids = (filter: (thread: (typeof threads)[number]) => boolean): string[] =>
    leaders.filter(filter).map((thread) => `thread ${thread.tid}`);

  list.add(
    "threads.extra",
    "threads",
    "threads besides the first",
    threads.filter((thread) => !leaders.includes(thread)).map((thread) => `thread ${thread.tid}`),
  );
  list.add(
    "threads.rseq",
    "threads",
    "rseq areas and robust lists",
    tids((row) => row.rseqAddress !== 0n || row.robustListHead !== 0n || row.clearChildTid !== 0n),
  );
  list.add(
    "fpu.extended",
    "fpu",
    "vector state beyond SSE",
    tids((row) => usesExtendedState(row.xstate)),
  );
  list.add("signals.actions", "signals", "signal actions", ofTasks(tables.signalActions));
  list.add("signals.pending", "signals", "pending signals", ofTasks(tables.pendingSignals));
  list.add(
    "signals.mask",
    "signals",
    "signal masks",
    tids((row) => row.sigMask !== 0n),
  );
  list.add(
    "signals.altstack",
    "signals",
    "alternate signal stacks",
    tids((row) => row.altstackSp !== 0n),
  );
  list.add(
    "files.locks",
    "files",
    "file locks and leases",
    tables.fileLocks.map((lock) => `${lock.kind} lock of file ${lock.file}`),
  );
  list.add(
    "credentials.seccomp",
    "credentials",
    "seccomp",
    tables.seccompStates.map(({ thread }) => `thread ${tables.threads[thread]?.tid ?? "?"}`),
  );
  list.add(
    "tree.cgroups",
    "tree",
    "control groups",
    tables.cgroupPolicies.length === 0 ? [] : tables.cgroups.map(({ hierarchy, path }) => `${hierarchy}:${path}`),
  );
  list.add("timers.interval", "timers", "interval timers", ofTasks(tables.intervalTimers));
  list.add("timers.posix", "timers", "POSIX timers", ofTasks(tables.posixTimers));
  list.add(
    "credentials",
    "credentials",
    "users, groups and capabilities",
    tids((row) => row.creds !== null),
  );
  list.add("limits", "limits", "resource limits", ofTasks(tables.rlimits));
  list.add(
    "fs.thread-directories",
    "fs",
    "directories of threads",
    tables.threadDirectories.map(({ thread }) => `thread ${tables.threads[thread]?.tid ?? thread}`),
  );
  list.add(
    "scheduling",
    "scheduling",
    "scheduling",
    tids((row) => row.schedPolicy !== "other" || row.nice !== 0 || row.ioPriority !== 0 || row.cpuAffinity.length > 0),
  );
  const rows = tasks.flatMap((task) => tables.tasks[task] ?? []);
  list.add(
    "fs.directories",
    "fs",
    "current and root directories",
    rows.filter((row) => row.cwd !== null || row.root !== null).map((row) => `process ${row.pid}`),
  );
  list.add(
    "tree.groups",
    "tree",
    "sessions and process groups",
    rows.filter((row) => row.sid !== 0 || row.pgid !== 0).map((row) => `process ${row.pid}`),
  );
  list.add(
    "tree.stopped",
    "tree",
    "that it was stopped",
    rows.filter((row) => row.state === "stopped").map((row) => `process ${row.pid}`),
  );
  list.add(
    "states",
    "tree",
    "small states",
    // Of the small states only this has a field.
    unusualStates(checkpoint, tasks)
      .filter(({ name }) => name !== "personality")
      .map(({ title, holder }) => `${title} of ${holder}`),
  );
  addMemoryLosses(list, checkpoint, tasks);
}

function addMemoryLosses(list: LossList, checkpoint: Checkpoint, tasks: readonly number[]): void {
  const { tables } = checkpoint;
  const mms = new Set(tasks.map((task) => tables.tasks[task]?.mm));
  const unusual =
    vmaVmFlagsBits.lo |
    vmaVmFlagsBits.hg |
    vmaVmFlagsBits.nh |
    vmaVmFlagsBits.dc |
    vmaVmFlagsBits.wf |
    vmaVmFlagsBits.dd |
    vmaVmFlagsBits.mg |
    vmaVmFlagsBits.sl;
  const areas = tables.vmas.filter((vma) => mms.has(vma.mm));
  const named = (filter: (vma: (typeof areas)[number]) => boolean): string[] =>
    areas.filter(filter).map((vma) => `0x${vma.start.toString(16)}`);
  list.add("memory.advice", "memory", "locking, sealing and advice on areas, their memory policies and protection keys", [
    ...named((vma) => isRegular(vma) && ((vma.vmFlags & unusual) !== 0n || vma.pkey !== 0)),
    ...tables.memoryPolicies.filter(({ mm }) => mms.has(mm)).map(({ start }) => `0x${start.toString(16)}`),
  ]);
  list.add(
    "memory.names",
    "memory",
    "names of areas",
    named((vma) => vma.name !== "" && vma.kind.startsWith("anon")),
  );
  list.add(
    "memory.memfd",
    "shared-memory",
    "memory of memfd files",
    named((vma) => vma.object !== null && tables.objects[vma.object]?.kind === "memfd"),
  );
}

/** Whether components beyond x87 and SSE are in use: bit 2 and above of xstate_bv. */
function usesExtendedState(xstate: Uint8Array): boolean {
  if (xstate.length < 520) return false;
  const used = new DataView(xstate.buffer, xstate.byteOffset, xstate.length).getBigUint64(512, true);
  // PKRU (bit 9) has its initial value in every process that does not use protection keys.
  return (used & ~0x203n) !== 0n;
}

/** Losses of descriptors that the format does not take, one a kind; `isHeld` judges those of kinds that it takes in part. */
export function addDescriptorLosses(
  list: LossList,
  checkpoint: Checkpoint,
  tasks: readonly number[],
  format: NarrowFormat,
  isHeld: (file: number, fd: number, row: OpenFileRow) => boolean,
): void {
  const { tables } = checkpoint;
  const isThere = new Set(tasks);
  const byName = new Map<string, { readonly facet: FacetName; readonly objects: string[] }>();
  for (const descriptor of tables.descriptors) {
    const file = tables.files[descriptor.file];
    if (!isThere.has(descriptor.task) || !file) continue;
    const { facet, kept, nameOf } = fileLosses[file.kind];
    if (kept[format] === "all" || (kept[format] === "some" && isHeld(descriptor.file, descriptor.fd, file))) continue;
    const object = file.object === null ? undefined : tables.objects[file.object];
    const name = nameOf?.(object) ?? file.kind;
    const known = byName.get(name) ?? { facet, objects: [] };
    byName.set(name, known);
    known.objects.push(`fd ${descriptor.fd} of ${tables.tasks[descriptor.task]?.pid ?? 0}${object?.path ? ` (${object.path})` : ""}`);
  }
  for (const [name, { facet, objects }] of byName) {
    list.add(`files.${name.replaceAll("_", "-")}`, facet, `descriptors of kind ${name.replaceAll("_", " ")}`, objects);
  }
}
