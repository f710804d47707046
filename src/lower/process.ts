// SPDX-License-Identifier: Apache-2.0
/** Ops that make processes and threads: clone3 with the old id, ids published to the whole tree, tidy endings. */
import { CLONE, PR, SIG, SIG_SETMASK, sigsetSize } from "./constants.js";
import { type DataRef, type Label, rowId, type Shared, type Slot } from "./operands.js";
import type { OpOptions, ProgramBuilder } from "./program-builder.js";

/** struct clone_args up to cgroup. */
export const cloneArgsSize = 88;
const stackOffset = 40;
const setTidOffset = 64;
const setTidSizeOffset = 72;
/** run() of the interpreter needs a few hundred bytes, print() has a line of 6 KiB; pages that are not used cost nothing. */
const threadStackSize = 8192;

export interface CloneRequest {
  /** The id wanted, in the pid namespace of the restore. */
  readonly pid: number;
  readonly flags: number;
  readonly exitSignal: number;
  /** Where the id is published. */
  readonly shared: Shared;
  /** What is made: `process 4711 (bash)`. */
  readonly what: string;
}

/** A struct clone_args in the data, and the id that it names. */
interface ThreadMaker {
  readonly args: DataRef;
  readonly tid: DataRef;
}

export class ProcessMaker {
  /** clone_args whose set_tid_size becomes 0 with --pid any. */
  readonly cloneArgs: DataRef[] = [];
  readonly #builder: ProgramBuilder;

  constructor(builder: ProgramBuilder) {
    this.#builder = builder;
  }

  /** Ops of the parent: makes a process that continues at `child`. */
  fork(request: CloneRequest, child: Label): void {
    const b = this.#builder;
    const result = b.slot(`pid of ${request.what}`);
    const args = this.argsOf(request);
    b.syscall("clone3", [args, cloneArgsSize], { store: result, ...this.#options(request) });
    b.jumpIf(result, "eq", 0, child);
    b.store4(request.shared, result);
  }

  /** What the threads of a process are made with, one after the other. */
  threadMaker(flags: number): ThreadMaker {
    const b = this.#builder;
    const tid = b.u4s(0);
    const args = b.u8s(flags, 0, 0, 0, 0, 0, threadStackSize, 0, tid, 1, 0);
    this.cloneArgs.push(args);
    return { args, tid };
  }

  /** Ops of a thread of the process, for a row: makes another thread, on a stack of its own in the hole. */
  thread({ args, tid }: ThreadMaker, request: Pick<CloneRequest, "pid" | "shared">, start: Label): void {
    const b = this.#builder;
    const result = b.slot("tid of the thread");
    b.store8(args.at(stackOffset), b.buffer(threadStackSize, 64));
    b.store4(tid, request.pid);
    b.op(
      "thread",
      [args, cloneArgsSize],
      { store: result, expect: "not_error", ...this.#options({ what: `thread ${rowId}`, pid: rowId }) },
      start,
    );
    b.store4(request.shared, result);
  }

  /**
   * Ops of a process without other threads: makes a child that shares its memory and continues at `start`; it dies with
   * the process. Returns the slot of its id, negative where there is none.
   */
  helper(pid: number, start: Label): Slot {
    const b = this.#builder;
    const result = b.slot(`id of helper ${pid}`);
    const args = this.argsOf({ pid, flags: helperFlags, exitSignal: 0 }, b.buffer(threadStackSize, 64));
    const begin = b.label(`helper ${pid}`);
    const after = b.label(`helper ${pid} is made`);
    b.compute(result, "move", 0);
    b.op("thread", [args, cloneArgsSize], { store: result, expect: "any" }, begin);
    b.jump(after);
    b.place(begin);
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the task" });
    b.jump(start);
    b.place(after);
    return result;
  }

  /** Makes a process that is none of the tree and continues at `child`: with the id, or where somebody has it, with any. */
  auxiliary(pid: number, flags: number, shared: Shared, child: Label): void {
    const b = this.#builder;
    const result = b.slot(`id of ${shared.name}`);
    const args = this.argsOf({ pid, flags, exitSignal: SIG.chld });
    const anyId = b.label(`any id for ${shared.name}`);
    const made = b.label(`${shared.name} is made`);
    b.syscall("clone3", [args, cloneArgsSize], { store: result, orElse: anyId });
    b.jump(made);
    b.place(anyId);
    b.store8(args.at(setTidOffset), 0);
    b.store8(args.at(setTidSizeOffset), 0);
    b.syscall("clone3", [args, cloneArgsSize], { store: result, message: `make the ${shared.name}` });
    b.place(made);
    b.jumpIf(result, "eq", 0, child);
    b.store4(shared, result);
  }

  /** With --pid any: every clone3 takes whatever id the kernel gives. */
  takeAnyPids(): void {
    for (const args of this.cloneArgs) {
      this.#builder.store8(args.at(setTidOffset), 0);
      this.#builder.store8(args.at(setTidSizeOffset), 0);
    }
  }

  #options({ what, pid }: { readonly what: string; readonly pid: number | string }): OpOptions {
    return {
      isPatient: true,
      message: `make ${what}`,
      hint: inUse(pid),
    };
  }

  /** A struct clone_args; pid 0: any. */
  argsOf(request: Pick<CloneRequest, "pid" | "flags" | "exitSignal">, stack?: DataRef): DataRef {
    const b = this.#builder;
    const [wanted, count] = request.pid === 0 ? [0, 0] : [b.u4s(request.pid), 1];
    const args = b.u8s(request.flags, 0, 0, 0, request.exitSignal, stack ?? 0, stack?.size ?? 0, 0, wanted, count, 0);
    this.cloneArgs.push(args);
    return args;
  }
}

/** A new pid namespace has its own init as process 1. */
function inUse(pid: number | string): string {
  const what = `id ${pid} may be in use, also as a session, a process group or an unreaped child`;
  return pid === 1 ? `${what}; --pid any gives the program another` : `${what}; --pid namespace or --pid any avoid that`;
}

const helperFlags = CLONE.vm | CLONE.fs | CLONE.files;

export const threadFlags = CLONE.vm | CLONE.fs | CLONE.files | CLONE.sighand | CLONE.thread | CLONE.sysvsem;

/** Ends the process so that its parent gets this wait(2) status. */
export function endWithStatus(b: ProgramBuilder, status: number): void {
  const signal = status & 0x7f;
  if (signal === 0) {
    b.syscall("exit_group", [(status >> 8) & 0xff]);
    return;
  }
  const self = b.slot("own pid");
  if (signal !== SIG.kill) {
    b.syscall("rt_sigaction", [signal, b.u8s(0, 0, 0, 0), 0, sigsetSize], { expect: "any" });
    const unblocked = b.u8s(BigInt.asUintN(64, ~(1n << BigInt(signal - 1))));
    b.syscall("getpid", [], { store: self });
    b.syscall("kill", [self, signal], { expect: "any" });
    b.syscall("rt_sigprocmask", [SIG_SETMASK, unblocked, 0, sigsetSize], { expect: "any" });
  }
  b.syscall("getpid", [], { store: self });
  b.syscall("kill", [self, SIG.kill], { expect: "any" });
}
