// SPDX-License-Identifier: Apache-2.0
/**
 * The memory of a process as it is now, for later: a fork of it that stands still while the process runs on.
 *
 * A fork that the process itself made would be its child: it would leave a zombie. So the process makes a helper, which
 * shares its memory and has no exit signal (0, so that no plain wait(2) sees it); the helper forks, and ends; the process,
 * which stands still all the while, waits for it. The fork is then a child of the init process, or of a subreaper outside
 * the tree. It has nothing of the process but memory: it leaves its session, and its descriptor table without having held
 * any file open.
 *
 * Both begin their lives on a signal frame that ends them: if crimg dies before it holds them, they run `exit_group` as the
 * first thing. From then on PTRACE_O_EXITKILL ends them with crimg.
 */
import { logCall } from "../errors/log.js";
import { CLONE } from "../linux/clone-flags.js";
import { errno, errnoMessage } from "../linux/errno.js";
import { PR } from "../linux/prctl.js";
import {
  beginFork as beginForkAlone,
  close,
  contToSyscall,
  decodeWaitStatus,
  failed,
  getRegs,
  nr,
  ptraceOption,
  setRegs,
  SysError,
  type SyscallName,
  tryKill,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
  userfaultfdFlags,
  waitOption,
  waitTimeout,
} from "../native/index.js";
import type { Overlay } from "../pages/process-source.js";
import type { DumpedProcess } from "./context.js";
import { isPinned, pinTo } from "./pin.js";
import { procPath, readStatus } from "./procfs.js";
import { setSyscall } from "./registers.js";
import { restartedBy } from "./restart.js";
import { ProcessPageSource } from "../pages/process-source.js";

/** The helper shares everything that it can, so that making and ending it takes no time. */
const asHelper = CLONE.vm | CLONE.fs | CLONE.files | CLONE.sighand | CLONE.sysvsem | CLONE.ptrace;
/** The descriptor table is shared at first: a copy would hold every file open, until it is closed. */
const asSnapshot = CLONE.files | CLONE.ptrace;
const CLOSE_RANGE_UNSHARE = 2;
const lastFd = 0xffff_ffffn;
const SIGKILL = 9;
/** Longest wait for one step, milliseconds: copying the page tables of a TiB takes seconds. */
const stepMs = 60_000;

/** Why there is no snapshot of a process. */
export class SnapshotRefused extends Error {}

/** A process that was made by the program under dump, and that only crimg knows. */
class HeldProcess {
  #isGone = false;

  constructor(
    readonly pid: number,
    private readonly syscallAt: bigint,
  ) {}

  /** Has it make a call; it stands still before and after. Returns what the kernel returns. */
  call(name: SyscallName, ...args: readonly (number | bigint)[]): number {
    const regs = getRegs(this.pid);
    setSyscall(regs, this.syscallAt, nr[name], args);
    setRegs(this.pid, regs);
    for (let stop = 0; stop < 2; stop++) {
      contToSyscall(this.pid);
      this.#await();
    }
    return Number(getRegs(this.pid).readBigInt64LE(80));
  }

  #await(): void {
    const { pid, status } = waitTimeout(this.pid, waitOption.WALL, stepMs);
    if (failed(pid)) throw new SnapshotRefused(`wait4: ${errnoMessage(-pid)}`);
    if (decodeWaitStatus(status).kind !== "stopped") {
      this.#isGone = true;
      throw new SnapshotRefused("it was killed");
    }
  }

  /** Has it begin to end, which takes long where it has many mappings. `end` sees it through. */
  kill(): void {
    if (!this.#isGone) tryKill(this.pid, SIGKILL);
  }

  /** Ends it, as far as crimg is concerned: whose child it is has to look. */
  end(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    // Whoever is not killed would be waited for as long as can be.
    for (let attempt = 0; attempt < 3; attempt++) if (!failed(tryKill(this.pid, SIGKILL))) break;
    for (let failures = 0; ; ) {
      const { pid, status } = waitTimeout(this.pid, waitOption.WALL, stepMs);
      if (failed(pid)) {
        if (pid === -errno.ECHILD || pid === -errno.ETIMEDOUT || ++failures === 3) return;
        continue;
      }
      const { kind } = decodeWaitStatus(status);
      if (kind === "exited" || kind === "killed") return;
    }
  }
}

/** The memory of one process at one moment. */
export interface Snapshot {
  /** A process whose memory it is. */
  readonly pid: number;
  /** What calls in the process had borrowed at that moment. */
  readonly overlay: Overlay | undefined;
  /** Leaves the session and the descriptor table of the program. May be called when the program runs again. */
  settle(): void;
  /** Has it begin to end: its memory is of no use any more. */
  kill(): void;
  /** Ends it. */
  end(): void;
}

/** A snapshot that is being made. Until it is finished or abandoned no call may be injected into the process. */
export interface PendingSnapshot {
  /**
   * Waits for it: the process stands where it stood. Asked again it is the same one.
   * @throws SnapshotRefused if it could not be made
   */
  finish(): Snapshot;
  /** The same, but there is to be none. */
  abandon(): void;
}

/**
 * Forks a process that stands still and is to run on.
 * @throws SnapshotRefused if that cannot be: the process is as before
 */
export function forkSnapshot(process: DumpedProcess): Snapshot {
  return beginSnapshot(process).finish();
}

/**
 * Begins to: while the kernel copies page tables, whatever else is to be asked of the process from outside can be asked.
 * @throws as `forkSnapshot`
 */
export function beginSnapshot(process: DumpedProcess): PendingSnapshot {
  const fork = beginFork(process, asSnapshot);
  let made: Snapshot | undefined;
  let isOver = false;
  const pending: PendingSnapshot = {
    finish() {
      if (made !== undefined) return made;
      if (isOver) throw new SnapshotRefused("it could not be made");
      isOver = true;
      const { held, start, bytes } = fork.finish();
      made = {
        pid: held.pid,
        overlay: { start, end: start + BigInt(bytes.length), bytes },
        settle() {
          held.call("close_range", 0, lastFd, CLOSE_RANGE_UNSHARE);
          held.call("setsid");
        },
        kill: () => held.kill(),
        end: () => held.end(),
      };
      return made;
    },
    abandon() {
      try {
        // Until whoever is its parent looks, which may be never, nobody could have the program's session again.
        pending.finish().settle();
      } catch (error) {
        if (!(error instanceof SnapshotRefused)) throw error;
      } finally {
        made?.end();
      }
    },
  };
  return pending;
}

/**
 * The memory that a fork keeps. It ends as soon as nobody reads it any more.
 * @param mayEnd false: others look at it still, and are not to be waited for
 */
export function forkSource(fork: Snapshot, mayEnd?: (mayWait: boolean) => boolean): ProcessPageSource {
  return new ProcessPageSource(
    fork.pid,
    () => fork.overlay,
    false,
    (mayWait) => {
      if (mayEnd?.(mayWait) !== false) fork.kill();
    },
  );
}

type Forked = Pick<DumpedProcess, "pid" | "frozen" | "facts" | "injector">;

/** A descriptor, and whether faults in system calls wait as well; else they fail. */
export interface TakenUserfaultfd {
  readonly fd: number;
  readonly isForCalls: boolean;
}

/**
 * A userfaultfd of a process that stands still, which gets no descriptor of it: one that shares its memory makes it, and is gone.
 * @throws SnapshotRefused if that cannot be
 */
export function takeUserfaultfd(process: Forked): TakenUserfaultfd {
  assertUnnoticed(process);
  const { held } = fork(process, asSnapshot | CLONE.vm);
  try {
    // Who is its parent by then may not look at its end for long.
    held.call("setsid");
    const left = held.call("close_range", 0, lastFd, CLOSE_RANGE_UNSHARE);
    if (failed(left)) throw new SnapshotRefused(`close_range: ${errnoMessage(-left)}`);
    const privileged = held.call("userfaultfd", userfaultfdFlags.privileged);
    const isForCalls = !failed(privileged);
    const fd = isForCalls ? privileged : held.call("userfaultfd", userfaultfdFlags.userModeOnly);
    if (failed(fd)) throw new SnapshotRefused(`userfaultfd: ${errnoMessage(-fd)}`);
    const pidfd = tryPidfdOpen(held.pid);
    const own = failed(pidfd) ? pidfd : tryPidfdGetfd(pidfd, fd);
    if (!failed(pidfd)) close(pidfd);
    if (failed(own)) throw new SnapshotRefused(`pidfd_getfd: ${errnoMessage(-own)}`);
    return { fd: own, isForCalls };
  } finally {
    held.end();
  }
}

/**
 * What a dump finds out of its own accord before it forks. A child subreaper would be told that a child of it has ended. The first
 * process of a new pid namespace takes it along when it ends: the program could not fork any more.
 * @throws SnapshotRefused
 */
function assertUnnoticed(process: Forked): void {
  const link = (name: string): string | undefined => tryReadlink(`${procPath(process.pid)}/ns/${name}`)?.toString("latin1");
  for (const kind of ["pid", "time"]) {
    if (link(kind) !== link(`${kind}_for_children`)) throw new SnapshotRefused(`its children will be in another ${kind} namespace`);
  }
  const subreaper = Buffer.alloc(8);
  const result = process.injector().call("prctl", PR.getChildSubreaper, { out: subreaper });
  if (failed(result)) throw new SnapshotRefused(`prctl(PR_GET_CHILD_SUBREAPER): ${errnoMessage(-result)}`);
  if ((subreaper.readUInt8() & 1) !== 0) throw new SnapshotRefused("it is a child subreaper");
}

interface ForkedProcess {
  readonly held: HeldProcess;
  /** What had been borrowed at that moment. */
  readonly start: bigint;
  readonly bytes: Buffer;
}

/** @throws SnapshotRefused */
function fork(process: Forked, forkFlags: number): ForkedProcess {
  return beginFork(process, forkFlags).finish();
}

/** `finish` is to be called, once. @throws SnapshotRefused, as `finish` */
function beginFork(process: Forked, forkFlags: number): { finish(): ForkedProcess } {
  const { pid, frozen } = process;
  const leader = frozen.threads[0];
  if (leader === undefined) throw new SnapshotRefused("it has ended");
  const status = process.facts?.of(leader)?.status ?? readStatus(procPath(pid));
  if (status === undefined || !/^\d+$/.test(status.get("NSpid") ?? "") || pid === 1) throw new SnapshotRefused("it is in a pid namespace");
  const injector = process.injector();
  if (!injector.canHeal) throw new SnapshotRefused("it could not go on by itself if crimg died meanwhile");
  const { room } = injector;
  if (room === undefined) throw new SnapshotRefused("no memory can be borrowed for calls in it");
  // What it has been asked is over: it stands where it stood.
  injector.close();
  if (!isPinned()) pinTo(pid, leader.tid);
  const { syscall, restorer } = injector.gadgets;
  const pending = beginForkAlone({
    ...{ pid, syscall, restorer, top: room.top, room: room.length, restarted: restartedBy(leader) },
    options: ptraceOption.TRACESYSGOOD | ptraceOption.EXITKILL | (status.get("Seccomp") === "0" ? 0 : ptraceOption.SUSPEND_SECCOMP),
    ...{ helperFlags: asHelper, forkFlags, regs: leader.regs, sigmask: leader.sigmask },
  });
  return {
    finish() {
      const made = pending.end();
      leader.owedSignals.push(...made.owed);
      logCall("crimg", "clone", made.pid);
      if (failed(made.pid) && made.isOnItsWay) throw new SysError(made.step, -made.pid, `process ${pid}`);
      if (failed(made.pid)) throw new SnapshotRefused(`${made.step}: ${errnoMessage(-made.pid)}`);
      return { held: new HeldProcess(made.pid, syscall), start: made.start, bytes: made.bytes };
    },
  };
}
