// SPDX-License-Identifier: Apache-2.0
/** What reading a core leaves open, and what a core cannot hold. */
import { fileLosses } from "../../src/adapter/file-kinds.js";
import type { Loss } from "../../src/adapter/format.js";
import { ipcLosses } from "../../src/adapter/ipc-loss.js";
import { namespaceLosses } from "../../src/adapter/namespace-loss.js";
import type { Tables } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { namesOfStates, unusualStates } from "../../src/state/states.js";
import type { HostFiles } from "./host-files.js";
import { type Mapping, rangesWithin, type StoredRange } from "./mappings.js";
import { cutOff } from "./absent.js";
import type { CoreProcess } from "./process-notes.js";

export interface ReadFacts {
  readonly process: CoreProcess;
  readonly mappings: readonly Mapping[];
  /** Bytes that PT_LOADs promise and the file does not have. */
  readonly bytesCut: bigint;
  /** Ascending. */
  readonly stored: readonly StoredRange[];
  readonly tables: Tables;
  readonly host: HostFiles;
}

/** Losses of reading a core. The texts say what is assumed instead. */
export function readLosses({ process, mappings, bytesCut, stored, tables, host }: ReadFacts): Loss[] {
  const losses: Loss[] = [
    {
      code: "core.descriptors",
      facet: "files",
      count: 1,
      text: "a core holds no descriptors: 0, 1 and 2 are taken to be inherited, others to be closed",
    },
    {
      code: "core.signals",
      facet: "signals",
      count: 1,
      text: "a core holds no signal actions, queues or alternate stacks: default actions are assumed",
    },
    { code: "core.timers", facet: "timers", count: 1, text: "a core holds no timers" },
    {
      code: "core.credentials",
      facet: "credentials",
      count: 1,
      text: "a core holds no capabilities or groups: the process gets those of whoever resumes it",
    },
    { code: "core.limits", facet: "limits", count: 1, text: "a core holds no resource limits: they are inherited" },
    {
      code: "core.fs",
      facet: "fs",
      count: 1,
      text: "a core holds no working directory, root or umask: /, the caller's root and 022 are assumed",
    },
    {
      code: "core.threads",
      facet: "threads",
      count: process.threads.length,
      text: tables.threads.every(({ clearChildTid }) => clearChildTid !== 0n)
        ? "a core holds no names of threads, scheduling and rseq areas; tid addresses are those of the C library's thread control blocks"
        : "a core holds no names of threads, scheduling, robust lists, rseq areas and tid addresses: pthread_join may wait for ever",
    },
  ];
  const add = (code: string, facet: Loss["facet"], count: number, text: string) => {
    if (count > 0) losses.push({ code, facet, count, text });
  };
  add("core.masks", "signals", process.isGcore ? process.threads.length : 0, "gcore writes signal masks and pending signals as empty");
  const isBare = ({ start, end }: { readonly start: bigint; readonly end: bigint }) =>
    rangesWithin(stored, start, end).length === 0 && !tables.absentRegions.some((one) => one.start < end && start < one.end);
  const guards = process.isGcore
    ? mappings.filter(
        (one) =>
          !one.file &&
          one.prot === 1 &&
          one.start < 1n << 63n &&
          tables.vmas.some((vma) => vma.start === one.start && vma.kind === "anon_private"),
      ).length
    : 0;
  add("core.protection", "memory", guards, "gcore writes memory without access as readable: guard pages may be read now");
  const guessed = mappings.filter((one) => one.isGuessed);
  add(
    "core.guessed",
    "mapped-files",
    guessed.length,
    `protections of mappings without a segment are those of the ELF files on this host, read-only for others: ${names(guessed)}`,
  );
  const files = mappings.filter((one) => one.file?.path.startsWith("/") && !one.file.path.endsWith(" (deleted)"));
  add("core.shared", "mapped-files", files.length, "a core does not tell shared from private file mappings: all are taken to be private");
  const absent = [...new Set(files.map((one) => one.file?.path ?? ""))].filter((path) => !host.get(path));
  add(
    "core.files",
    "mapped-files",
    absent.length,
    `mapped files that are not on this host: ${absent.slice(0, 3).join(", ")}${absent.length > 3 ? ", …" : ""}`,
  );
  const others = tables.objects.filter((one) => one.kind === "file" && one.mtimeNs === 0n && host.get(one.path) !== undefined);
  add(
    "core.other-files",
    "mapped-files",
    others.length,
    `mapped files that have another build-id on this host: ${others
      .slice(0, 3)
      .map(({ path }) => path)
      .join(", ")}`,
  );
  const untouched = tables.vmas.filter((vma) => vma.kind === "anon_private" && vma.prot !== 0 && isBare(vma)).length;
  add(
    "core.untouched",
    "memory",
    untouched,
    "mappings without a byte in the core are taken to be untouched, so zero: what MADV_DONTDUMP leaves out looks the same",
  );
  const absentSums = new Map<string, bigint>();
  for (const { start, end, reason } of tables.absentRegions) absentSums.set(reason, (absentSums.get(reason) ?? 0n) + (end - start));
  for (const [reason, bytes] of absentSums) {
    if (reason !== cutOff) add("core.absent", "memory", Number(bytes), `bytes of memory are not in the core: ${reason}`);
  }
  add(
    "core.partial-pages",
    "memory",
    process.dumped?.length ?? 0,
    "runs of bytes are all that minicoredumper wrote of their pages: the rest of a page reads as zeros",
  );
  add("core.truncated", "memory", Number(bytesCut), "bytes of memory are missing: the core was cut off");
  return losses;
}

function names(mappings: readonly Mapping[]): string {
  const paths = [...new Set(mappings.map((one) => one.file?.path ?? ""))];
  return `${paths.slice(0, 3).join(", ")}${paths.length > 3 ? ", …" : ""}`;
}

/** Losses of writing a model as cores of these tasks. */
export function writeLosses(checkpoint: Checkpoint, tasks: readonly number[]): Loss[] {
  const { tables } = checkpoint;
  const losses: Loss[] = [];
  const chosen = new Set(tasks);
  const add = (code: string, facet: Loss["facet"], rows: readonly { readonly task: number }[], text: string) => {
    const count = rows.filter(({ task }) => chosen.has(task)).length;
    if (count > 0) losses.push({ code, facet, count, text });
  };
  const taskOf = (task: number) => `${tables.tasks[task]?.pid ?? "?"}`;
  const zombies = tasks.filter((task) => tables.tasks[task]?.mm === null);
  if (zombies.length > 0)
    losses.push({
      code: "core.zombies",
      facet: "tree",
      count: zombies.length,
      text: `zombies have no core: ${zombies.slice(0, 5).map(taskOf).join(", ")}`,
    });
  const others = tables.tasks.length - tasks.length;
  if (others > 0) losses.push({ code: "core.tasks", facet: "tree", count: others, text: "other processes of the tree were not asked for" });
  const isPlain = ({ fd, file }: (typeof tables.descriptors)[number]): boolean => {
    const row = tables.files[file];
    const kept = row === undefined ? "none" : fileLosses[row.kind].kept.core;
    // Whoever reads a core takes 0, 1 and 2 to be the caller's.
    return kept === "all" || (kept === "some" && fd < 3);
  };
  add(
    "core.descriptors",
    "files",
    tables.descriptors.filter((row) => !isPlain(row)),
    "descriptors are not in a core",
  );
  const locks = tables.fileLocks.map(({ file, task }) => ({
    task: task ?? tables.descriptors.find((row) => row.file === file)?.task ?? 0,
  }));
  add("core.locks", "files", locks, "file locks and leases are not in a core");
  const filtered = tables.seccompStates.map(({ thread }) => ({ task: tables.threads[thread]?.task ?? 0 }));
  const grouped = tables.cgroupMembers.map(({ thread }) => ({ task: tables.threads[thread]?.task ?? 0 }));
  const apart = tables.threadDirectories.map(({ thread }) => ({ task: tables.threads[thread]?.task ?? 0 }));
  add("core.thread-directories", "fs", apart, "directories of threads are not in a core");
  add("core.cgroups", "tree", grouped, "control groups are not in a core");
  add("core.seccomp", "credentials", filtered, "seccomp is not in a core");
  add("core.signal-actions", "signals", tables.signalActions, "signal actions are not in a core");
  add("core.pending", "signals", tables.pendingSignals, "of pending signals only the set is in a core");
  add("core.timers", "timers", [...tables.intervalTimers, ...tables.posixTimers], "timers are not in a core");
  add("core.limits", "limits", tables.rlimits, "resource limits are not in a core");
  add("core.gpu", "tree", tables.cudaProcesses, "that the CUDA driver has to bring GPU state back is not in a core");
  const threads = tables.threads.filter(({ task }) => chosen.has(task));
  const withCreds = threads.filter(({ creds }) => creds !== null);
  if (withCreds.length > 0)
    losses.push({
      code: "core.credentials",
      facet: "credentials",
      count: withCreds.length,
      text: "of credentials only the real user and group are in a core",
    });
  const fs = tasks.filter((task) => tables.tasks[task]?.cwd !== null && tables.tasks[task]?.mm !== null);
  if (fs.length > 0)
    losses.push({ code: "core.fs", facet: "fs", count: fs.length, text: "working directory, root and umask are not in a core" });
  if (threads.length > 0)
    losses.push({
      code: "core.threads",
      facet: "threads",
      count: threads.length,
      text: "names of threads, scheduling, alternate stacks, robust lists, rseq areas and tid addresses are not in a core",
    });
  const mms = new Set(tasks.map((task) => tables.tasks[task]?.mm));
  const flagged = tables.vmas.filter(({ mm, vmFlags }) => mms.has(mm) && vmFlags !== 0n);
  if (flagged.length > 0)
    losses.push({
      code: "core.advice",
      facet: "memory",
      count: flagged.length,
      text: "advice on mappings (madvise, mlock), their names and the brk are not in a core",
    });
  const states = unusualStates(checkpoint, tasks);
  if (states.length > 0)
    losses.push({
      code: "core.states",
      facet: "tree",
      count: states.length,
      text: `small states are not in a core: ${namesOfStates(states)}`,
    });
  return [...losses, ...ipcLosses(checkpoint), ...namespaceLosses(checkpoint)];
}
