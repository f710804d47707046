// SPDX-License-Identifier: Apache-2.0
/**
 * Seccomp comes before credentials, since whoever installed a filter may have given up the right to it since, and after
 * it the restore still makes system calls. So the first process takes hold of such threads early, with
 * PTRACE_O_SUSPEND_SECCOMP (ptrace(2)): their filters are not asked as long as it traces them, which is until they run.
 * An ordinary user may not do that; the filters then have to let those calls through, which those of container engines do.
 *
 *   thread            counts on `awaitingTrace`, waits for `traced`, installs, gives up its credentials, is ready
 *   first process     waits for all of `awaitingTrace`, seizes them, counts on `traced`
 *
 * What all threads of a process have in common its leader installs for all (SECCOMP_FILTER_FLAG_TSYNC): the kernel then
 * has one filter, and the program can go on to synchronise. `synced` counts processes whose leader did.
 */
import type { SeccompFilterRow, SeccompStateRow } from "../gen/tables.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";
import { PTRACE } from "./constants.js";
import type { Lowering } from "./lowering.js";
import { type DataRef, rowId, type Shared } from "./operands.js";
import { allowsCall } from "./seccomp-allows.js";

const PTRACE_O_SUSPEND_SECCOMP = 0x20_0000;
const [SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER] = [0, 1];
/** TSYNC, LOG, SPEC_ALLOW: the speculation controls of a thread are states of their own. */
const FLAG = { tsync: 1, log: 2, specAllow: 4 } as const;

/** What a thread does behind its filters: those that follow, credentials, waiting for others, the way out. */
const callsBehind = [
  "seccomp",
  "setgroups",
  "setresgid",
  "setresuid",
  "setfsgid",
  "setfsuid",
  "prctl",
  "capset",
  "futex",
  "waitid",
  "kill",
  "munmap",
  "rt_sigreturn",
] as const satisfies readonly SyscallName[];

/** How threads come under seccomp; absent where none of the image does. */
export class SeccompLowering {
  /** Threads that wait to be traced. */
  readonly #awaitingTrace: Shared;
  /** The first process has them. */
  readonly #traced: Shared;
  /** By task: its leader has installed what its threads have in common. */
  readonly #synced = new Map<number, Shared>();
  readonly #programs = new Map<number, DataRef>();
  readonly #states = new Map<number, SeccompStateRow>();
  /** By row of filters. */
  readonly #harmless = new Map<number, boolean>();

  private constructor(private readonly l: Lowering) {
    this.#awaitingTrace = l.builder.counter("awaiting trace for seccomp");
    this.#traced = l.builder.counter("traced for seccomp");
    for (const row of l.checkpoint.tables.seccompStates) this.#states.set(row.thread, row);
    for (const task of new Set([...this.#states.keys()].map((thread) => l.thread(thread).task))) {
      if (this.#commonOf(task).length > 0) this.#synced.set(task, l.builder.counter(`filters of ${l.task(task).pid} are in common`));
    }
  }

  static of(l: Lowering): SeccompLowering | undefined {
    return l.checkpoint.tables.seccompStates.length === 0 ? undefined : new SeccompLowering(l);
  }

  /** Whether the first process takes hold of a thread before the others. */
  isTraced(thread: number): boolean {
    return this.#states.has(thread);
  }

  /** Ops of the first process: takes hold of the threads that wait for it. */
  trace(): void {
    const { l } = this;
    const b = l.builder;
    b.wait(this.#awaitingTrace, this.#states.size);
    b.forEach(
      this.#states.keys(),
      (index) => l.thread(index).tid,
      (index) => {
        const { task } = l.thread(index);
        const cannot = b.label("cannot trace with seccomp suspended");
        const done = b.label("traced");
        const result = b.slot("result of tracing");
        b.syscall("ptrace", [PTRACE.seize, l.threadShared(index).u4, 0, PTRACE_O_SUSPEND_SECCOMP], { store: result, orElse: cannot });
        b.jump(done);
        b.place(cannot);
        if (this.#isHarmless(index)) {
          b.syscall("ptrace", [PTRACE.seize, l.threadShared(index).u4, 0, 0], {
            message: `take hold of thread ${rowId} of ${l.taskName(task)}`,
          });
          b.jump(done);
        }
        b.fail(
          `put thread ${rowId} of ${l.taskName(task)} under seccomp again: its filters cannot be suspended until it runs`,
          "resume as root, not under strace, and without a seccomp filter on the caller",
          result,
        );
        b.place(done);
      },
    );
    b.count(this.#traced);
  }

  /** Whether the filters of a thread let everything through that the restore still does in it. */
  #isHarmless(index: number): boolean {
    const state = this.#states.get(index);
    if (state === undefined || state.mode === "strict") return false;
    const { seccompFilters } = this.l.checkpoint.tables;
    return this.#chainOf(state.filter).every((row) => {
      let known = this.#harmless.get(row);
      known ??= callsBehind.every((name) => allowsCall(seccompFilters[row]?.instructions ?? new Uint8Array(0), nr[name]));
      this.#harmless.set(row, known);
      return known;
    });
  }

  /** Ops of a thread before it gives up its credentials. */
  install(index: number): void {
    const { l } = this;
    const b = l.builder;
    const state = this.#states.get(index);
    if (state === undefined) return;
    const { task } = l.thread(index);
    b.count(this.#awaitingTrace);
    b.wait(this.#traced, 1);
    if (state.mode === "strict") {
      b.syscall("seccomp", [SECCOMP_SET_MODE_STRICT, 0, 0], { message: "enter the strict mode of seccomp" });
      return;
    }
    const synced = this.#synced.get(task);
    const common = synced === undefined ? [] : this.#commonOf(task);
    const isLeader = l.checkpoint.threadsOf(task)[0] === index;
    if (synced !== undefined && isLeader) {
      for (const filter of common) this.#installOne(filter, FLAG.tsync);
      b.count(synced);
    } else if (synced !== undefined) {
      b.wait(synced, 1);
    }
    for (const filter of this.#chainOf(state.filter).slice(common.length)) this.#installOne(filter, 0);
  }

  #installOne(index: number, extra: number): void {
    const b = this.l.builder;
    const row = this.l.checkpoint.tables.seccompFilters[index] as SeccompFilterRow;
    const count = row.instructions.length / 8;
    let program = this.#programs.get(index);
    if (program === undefined) {
      // struct sock_fprog: u2 count, padding, address
      program = b.u8s(count, b.bytes(row.instructions));
      this.#programs.set(index, program);
    }
    b.syscall("seccomp", [SECCOMP_SET_MODE_FILTER, row.flags | FLAG.specAllow | extra, program], {
      expect: 0,
      message: `install a seccomp filter of ${count} instructions`,
      hint: "this needs root, or no_new_privs",
    });
  }

  /** Rows of a chain, the first that was installed first. */
  #chainOf(last: number | null): number[] {
    const { seccompFilters } = this.l.checkpoint.tables;
    const chain: number[] = [];
    // `previous` comes before its row, so this ends.
    for (let at = last; at !== null; ) {
      chain.unshift(at);
      const previous: number | null = seccompFilters[at]?.previous ?? null;
      at = previous !== null && previous < at ? previous : null;
    }
    return chain;
  }

  /** The filters that all threads of a task have in common, if it has more than one. */
  #commonOf(task: number): number[] {
    const threads = this.l.checkpoint.threadsOf(task);
    if (threads.length < 2) return [];
    const chains = threads.map((thread) => this.#chainOf(this.#states.get(thread)?.filter ?? null));
    const [first = [], ...others] = chains;
    const length = first.findIndex((filter, position) => others.some((chain) => chain[position] !== filter));
    return length < 0 ? first : first.slice(0, length);
  }
}
