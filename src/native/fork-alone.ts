// SPDX-License-Identifier: Apache-2.0
/** The fork of a frozen process that keeps its memory: made by the addon (native/addon/fork-alone.h). */
import { addon } from "./addon.js";
import { stopRow, writeStop } from "./lists.js";

/** What is needed of a process whose first thread stands still. */
export interface ForkPlace {
  readonly pid: number;
  /** Addresses of its code: `syscall; ret`, and a call of rt_sigreturn. */
  readonly syscall: bigint;
  readonly restorer: bigint;
  /** Memory that may be borrowed: its end, and its length in bytes. */
  readonly top: bigint;
  readonly room: number;
  /** What a restart_syscall of the thread continues; −1 if it is in none. */
  readonly restarted: number;
  /** PTRACE_O_* for the fork, and flags of clone(2) for who makes it and for itself. */
  readonly options: number;
  readonly helperFlags: number;
  readonly forkFlags: number;
  /** Registers and signal mask of the thread. */
  readonly regs: Uint8Array;
  readonly sigmask: bigint;
}

export interface ForkMade {
  /** Pid of the fork, which is traced and stands still; or −errno. */
  readonly pid: number;
  /** What had been borrowed, and what it held before. */
  readonly start: bigint;
  readonly bytes: Buffer;
  /** Signals that stopped the thread and must be sent again. */
  readonly owed: number[];
  /** The thread could not be put back: it goes back by itself when it is let go. */
  readonly isOnItsWay: boolean;
  /** What failed. */
  readonly step: string;
}

const steps = ["borrowing memory", "clone", "holding it", "clone", "wait4"] as const;
const word = { result: 9, fork: 10, start: 11, length: 12, owed: 13, isOnItsWay: 14, step: 15, all: 16 } as const;

/** A fork under way. */
export interface PendingFork {
  /** Waits for it; the process stands where it stood then. To be called once. */
  end(): ForkMade;
}

/**
 * Begins to fork a process; one at a time. While the kernel copies its page tables, its first thread stands elsewhere, with another
 * signal mask, and some of its memory below the stack pointer is borrowed; everything else may be asked.
 */
export function beginFork(place: ForkPlace): PendingFork {
  const job = new BigInt64Array(word.all);
  const numbers = [place.restarted, place.options, place.helperFlags, place.forkFlags].map(BigInt);
  const addresses = [place.syscall, place.restorer, place.top].map((address) => BigInt.asIntN(64, address));
  job.set([BigInt(place.pid), ...addresses, BigInt(place.room), ...numbers]);
  const stop = Buffer.alloc(stopRow.length);
  writeStop(stop, 0, place);
  const saved = Buffer.alloc(place.room);
  addon().beginFork(job, stop, saved);
  // The addon has the addresses of all three until then.
  return {
    end() {
      addon().endFork();
      return madeOf(job, stop, saved);
    },
  };
}

function madeOf(job: BigInt64Array, _stop: Buffer, saved: Buffer): ForkMade {
  const at = (index: number): bigint => job[index] as bigint;
  const owed = BigInt.asUintN(64, at(word.owed));
  return {
    pid: Number(at(word.result) < 0n ? at(word.result) : at(word.fork)),
    start: BigInt.asUintN(64, at(word.start)),
    bytes: saved.subarray(0, Number(at(word.length))),
    owed: owed === 0n ? [] : Array.from({ length: 64 }, (_, index) => index + 1).filter((signal) => (owed >> BigInt(signal - 1)) & 1n),
    isOnItsWay: at(word.isOnItsWay) !== 0n,
    step: steps[Number(at(word.step))] ?? "clone",
  };
}
