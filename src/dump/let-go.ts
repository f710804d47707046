// SPDX-License-Identifier: Apache-2.0
/**
 * `--leave-running` of one process: it runs on as soon as what only itself can tell has been asked, and a fork of it keeps the rest.
 * The fork has its memory, program, directories and namespaces of that very moment and stands still, so everything about these
 * is found out from it while the program runs. What it does not keep, or would keep otherwise, must not be there; where anything is
 * out of the ordinary, the process stands still to the end, as a tree of several does.
 *
 * From then on nothing may be asked of the process itself: `letAnswer` sees to that. Whoever does all the same ends this attempt, and
 * the dump begins anew in the ordinary order.
 */
import { errno } from "../linux/errno.js";
import { rlimitResourceNames } from "../gen/tables.js";
import { PR } from "../linux/prctl.js";
import { failed, type Answers, letAnswer, peekSiginfo, QuestionList, type StandIn, tryReadSmall, tryStat } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { type PendingSnapshot, type Snapshot, SnapshotRefused } from "./fork-snapshot.js";
import { logStep } from "../errors/log.js";
import { hasOwnKeyring } from "./keyrings.js";
import { unpin } from "./pin.js";
import { listChildren, procPath, readStatus } from "./procfs.js";
import { threadsApart } from "./sharing.js";
import { haveQueuedSignals } from "./signals.js";
import { type Mapping, vmFlags } from "./smaps.js";
import { mapFilesPath } from "./vmas.js";

/** What keeps the process as it was when it was let go. */
export interface Gone {
  readonly snapshot: Snapshot;
  /** When it ran on, milliseconds of performance.now(). */
  readonly at: number;
}

/** Flags that a fork does not have, or memory that it has not as its parent has it. */
const notForked = vmFlags("dc", "wf", "dp", "ht", "lo", "lf", "um", "uw", "ui", "ss");
/** Names of what is no file that another process could map. */
const nameless = / \(deleted\)$|^\/(anon_inode:|\[aio\]|memfd:)/;
const special = /^\[(heap|stack|vdso|vvar|vvar_vclock|vsyscall|anon:.*)\]$/s;

/** Files that may be others a moment later, at most: each is looked at while the process stands still. */
const mostFiles = 64;

interface MappedFile {
  readonly first: Mapping;
  isCode: boolean;
  isWritten: boolean;
}

/**
 * Whether a fork keeps all of these mappings: private memory, and files that have a name. Of those that the program may write to,
 * through a mapping or otherwise, the first mappings are returned, where vmas.ts looks at them: they may be others a moment later.
 * undefined: it does not keep them all.
 */
export function changingFiles(mappings: readonly Mapping[]): readonly Mapping[] | undefined {
  const { table } = mappings[0] ?? {};
  if (table === undefined || (table.summary.flags & notForked) !== 0n) return undefined;
  const files = new Map<string, MappedFile>();
  for (const index of table.summary.others) {
    const mapping = mappings[index] as Mapping;
    const { text } = mapping;
    const isFile = mapping.ino !== 0n && text.startsWith("/") && !nameless.test(text);
    if (!isFile && (mapping.isShared || (text !== "" && !special.test(text)))) return undefined;
    if (!isFile) continue;
    const key = `${mapping.devMajor}:${mapping.devMinor}:${mapping.ino}:${text}`;
    const file = files.get(key) ?? { first: mapping, isCode: false, isWritten: false };
    files.set(key, file);
    file.isCode ||= mapping.isExecutable;
    file.isWritten ||= mapping.isShared && mapping.isWritable;
  }
  // Nobody writes to code that is executed: the kernel does not let it be.
  const changing = [...files.values()].filter(({ isCode, isWritten }) => isWritten || !isCode);
  return changing.length > mostFiles ? undefined : changing.map(({ first }) => first);
}

/** Whether it looks as if a process that runs will be let go. @param maps what /proc/PID/maps says of it */
export function seemsToBeLetGo(pid: number, maps: Buffer | undefined): boolean {
  if (maps === undefined || listChildren(pid, pid)?.length !== 0) return false;
  return ![" (deleted)\n", "anon_inode:", "/SYSV"].some((text) => maps.includes(text));
}

/** The same of what is found out about a process when it stands still, of `obstacle`. */
export function seemsPlain(pid: number): boolean {
  const status = readStatus(procPath(pid));
  const isAlone = /^\d+$/.test(status?.get("NSpid") ?? "") && status?.get("Seccomp") === "0";
  return isAlone && tryReadSmall(`${procPath(pid)}/timers`)?.length === 0 && !hasSystemV();
}

/** shmctl(2), semctl(2) and msgctl(2): how many objects there are, a number of 4 bytes at this place of what is told. */
const [shmInfo, semInfo, msgInfo] = [
  { command: 14, room: 48, used: 0 },
  { command: 19, room: 40, used: 28 },
  { command: 12, room: 32, used: 0 },
];
const systemV = new QuestionList([
  { call: "shmctl", args: [0, shmInfo.command, { room: shmInfo.room }] },
  { call: "semctl", args: [0, 0, semInfo.command, { room: semInfo.room }] },
  { call: "msgctl", args: [0, msgInfo.command, { room: msgInfo.room }] },
]);

/** Whether the ipc namespace has an object of System V, as far as the kernel tells. */
function hasSystemV(): boolean {
  const answers: Answers = systemV.ask(Int32Array.of(0, 0));
  return [shmInfo, semInfo, msgInfo].some(({ used }, kind) => {
    const result = answers.result(0, kind);
    return result < 0 ? result !== -errno.ENOSYS : answers.stored(0, kind).readInt32LE(used) !== 0;
  });
}

/** Why a process that all has been asked cannot be let go yet; undefined if it can, as far as one knows before its descriptors. */
export function obstacle(context: DumpContext, process: DumpedProcess): string | undefined {
  const { facts, lists, own } = process;
  const status = own?.status;
  if (facts === undefined || lists === undefined || own === undefined || status === undefined) return "it has not been asked in one go";
  if (!/^\d+$/.test(status.get("NSpid") ?? "")) return "it is in a pid namespace";
  if (context.view.spaces.length > 0 || context.view.ownsIpc || context.tables.namespaces.length > 0)
    return "it is in namespaces of its own";
  const { threads } = process.frozen;
  for (const thread of threads) {
    const made = lists.of(thread);
    if (made === undefined || facts.of(thread)?.status?.get("Seccomp") !== "0") return "a thread must be asked by itself";
    if (hasOwnKeyring(made)) return "a thread has keys";
  }
  const first = lists.of(threads[0] as (typeof threads)[number]);
  const subreaper = Buffer.alloc(8);
  if (first === undefined || failed(Number(first.peek("prctl", [PR.getChildSubreaper, { out: subreaper }]) ?? -1n)))
    return "it must be asked by itself";
  if ((subreaper.readUInt8() & 1) !== 0) return "it is a child subreaper";
  // Of another user's process a tracer without CAP_SYS_RESOURCE is not told.
  if (Array.from(rlimitResourceNames.keys()).some((_, place) => own.limit(place) === undefined))
    return "its limits must be asked by itself";
  if ((own.file("timers")?.length ?? 1) > 0) return "it has timers";
  if (peekSiginfo(process.pid, true).length > 0 || haveQueuedSignals(threads)) return "signals wait for it";
  if (threadsApart(process, "FS").length > 0) return "a thread has directories of its own";
  return hasSystemV() ? "there are objects of System V" : undefined;
}

/**
 * Lets a process go of which everything else is known. Undefined if that is not to be: it stands still as before.
 * @param pending its fork
 * @param changing see `changingFiles`
 * @throws what letting go throws
 */
export function letGo(
  context: DumpContext,
  process: DumpedProcess,
  pending: PendingSnapshot,
  changing: readonly Mapping[],
): Gone | undefined {
  const { tables, sources, blockers } = context;
  if (tables.extents.length > 0 || sources.length > 0 || blockers.count > 0 || context.isToTake) {
    pending.abandon();
    return undefined;
  }
  const files = new Map(changing.map((mapping) => mapFilesPath(process.pid, mapping)).map((path) => [path, tryStat(path)]));
  const snapshot = unlessRefused(() => pending.finish());
  if (snapshot === undefined) return undefined;
  context.standsStillUntil();
  process.injector().close();
  context.releaseHeld();
  context.tree.release();
  const at = performance.now();
  unpin();
  logStep(() => "the process runs on; its fork answers for it");
  answerFor(process, snapshot, files);
  try {
    snapshot.settle();
  } catch (error) {
    letAnswer(undefined);
    snapshot.end();
    throw error;
  }
  return { snapshot, at };
}

/** The snapshot, or what is to become one; undefined if it cannot be made. */
export function unlessRefused<Made>(make: () => Made): Made | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof SnapshotRefused) return undefined;
    throw error;
  }
}

function answerFor(process: DumpedProcess, snapshot: Snapshot, files: StandIn["files"]): void {
  const { pid, frozen, facts, lists } = process;
  const told = new Map<string, Buffer>();
  const xstates = new Map<number, Buffer>();
  const tids = new Set<number>();
  for (const thread of frozen.threads) {
    const { tid } = thread;
    tids.add(tid);
    const of = facts?.of(thread);
    for (const name of ["status", "stat"]) {
      const bytes = of?.file(name);
      if (bytes === undefined) continue;
      told.set(`${procPath(pid, tid)}/${name}`, bytes);
      if (tid === pid) told.set(`${procPath(pid)}/${name}`, bytes);
    }
    const xstate = lists?.xstate(thread);
    if (xstate !== undefined) xstates.set(tid, xstate);
  }
  letAnswer({ pid, tids, fork: snapshot.pid, told, files, xstates });
}
