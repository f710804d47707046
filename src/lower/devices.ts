// SPDX-License-Identifier: Apache-2.0
/**
 * Programs that used CUDA come back in the state that the driver calls checkpointed: what was in the memory of their GPUs
 * is in their own, and their next CUDA call waits. The helper that such an image carries (native/cuda) has the driver
 * restore and unlock them.
 *
 * It is started before the tree is made, so that the driver is ready when the tree is, and told to begin when the tree
 * stands: every thread is held by ptrace but those that do the driver's work. So if the driver refuses, nothing of the
 * program has run, and all ends with the driver's own word on standard error.
 */
import { CrimgError } from "../errors/crimg-error.js";
import { AT, O, PR, PTRACE, SIG, WAIT, sigsetSize, SIG_SETMASK } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Shared, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";
import { optionSlotValues } from "../gen/restore-program.js";

/** Where the helper lies in the image. */
export interface HelperPlace {
  readonly fileOffset: bigint;
  readonly size: bigint;
}

/** Descriptors of the helper; in the first process the low numbers are free. */
const helperFd = { go: 3, environment: 4, self: 5 } as const;
/** The writing end, where the closing of what the restore had open does not reach it. */
const goFd = 3;
const environmentPiece = 65536;

export class DeviceLowering {
  readonly #l: Lowering;
  readonly #b: ProgramBuilder;
  readonly #place: HelperPlace;
  readonly #environment: Slot;
  readonly #go: Slot;
  readonly #pid: Slot;
  /** The same, for whoever ends all if the restore fails. */
  readonly #shared: Shared;
  /** Threads, by row, that do the driver's work: they must run while it restores. */
  readonly threads: readonly number[];

  private constructor(l: Lowering, place: HelperPlace) {
    this.#l = l;
    this.#b = l.builder;
    this.#place = place;
    this.#environment = l.builder.slot("fd of the caller's environment");
    this.#go = l.builder.slot("fd that tells the GPU helper to begin");
    this.#pid = l.builder.slot("pid of the GPU helper");
    this.#shared = l.builder.endingPid("GPU helper");
    this.threads = [...new Set(l.checkpoint.tables.cudaProcesses.map((row) => row.restoreThread))];
  }

  /** Undefined for programs that used no GPU. */
  static of(l: Lowering, place: HelperPlace | undefined): DeviceLowering | undefined {
    if (l.checkpoint.tables.cudaProcesses.length === 0) return undefined;
    if (place === undefined) throw new Error("an image of a CUDA program needs the helper");
    for (const [row, { task, restoreThread }] of l.checkpoint.tables.cudaProcesses.entries()) {
      if (l.task(task).state !== "zombie" && l.thread(restoreThread).task === task) continue;
      throw new CrimgError("lower.gpu", `cuda_processes[${row}] names no thread of a living process`, { path: `cuda_processes[${row}]` });
    }
    return new DeviceLowering(l, place);
  }

  /** Ops of the first process while it still has its own memory: keeps the environment, which the driver may want. */
  keepEnvironment(): void {
    const b = this.#b;
    const from = b.slot("fd of /proc/self/environ");
    const length = b.slot("bytes of the environment");
    const piece = b.buffer(environmentPiece);
    const next = b.label("next piece of the environment");
    const atEnd = b.label("end of the environment");
    const done = b.label("the environment is kept");
    b.syscall("memfd_create", [b.string("environment"), 1], { store: this.#environment, message: "make room for the environment" });
    this.#l.keepHigh(this.#environment);
    b.syscall("openat", [AT.fdcwd, b.string("/proc/self/environ"), O.rdonly | O.cloexec, 0], { store: from, orElse: done });
    b.place(next);
    b.syscall("read", [from, piece, environmentPiece], { store: length, orElse: atEnd });
    b.jumpIf(length, "eq", 0, atEnd);
    b.syscall("write", [this.#environment, piece, length], { message: "keep the environment" });
    b.jump(next);
    b.place(atEnd);
    b.syscall("close", [from]);
    b.place(done);
  }

  /**
   * Ops that a rehearsal leaves out: its tree never runs, and what the driver saved belongs to the one that waits for the
   * dump to end.
   */
  #unlessRehearsed(build: () => void): void {
    const b = this.#b;
    const rehearse = b.slots[optionSlotValues.rehearse];
    if (rehearse === undefined) throw new Error("no slot for --rehearse");
    const isRehearsal = b.label("a rehearsal asks no driver");
    b.jumpIf(rehearse, "ne", 0, isRehearsal);
    build();
    b.place(isRehearsal);
  }

  /** Ops of the process that makes the tree, before it does: starts the helper. */
  start(): void {
    this.#unlessRehearsed(() => this.#start());
  }

  #start(): void {
    const b = this.#b;
    b.about("GPU helper", () => {
      const self = b.slot("fd of the GPU helper");
      const read = b.slot("fd that the GPU helper reads");
      const ends = b.buffer(8);
      const child = b.label("GPU helper");
      const made = b.label("the GPU helper is made");
      const anyId = b.label("the GPU helper gets any id");
      const size = this.#place.size;
      b.syscall("memfd_create", [b.string("crimg-cuda"), 0], { store: self, message: "make room for the helper" });
      this.#l.keepHigh(self);
      b.syscall("sendfile", [self, this.#l.imageFd, b.u8s(this.#place.fileOffset), size], { expect: size, message: "read the helper" });
      b.syscall("pipe2", [ends, O.cloexec], { message: "make a pipe" });
      b.compute(read, "move", ends.u4);
      b.compute(this.#go, "move", ends.at(4).u4);
      this.#l.keepHigh(read);
      this.#l.keepHigh(this.#go);
      const args = b.u8s(0, 0, 0, 0, SIG.chld, 0, 0, 0, b.u4s(this.#l.memoryParts.spareId()), 1, 0);
      b.syscall("clone3", [args, 88], { store: this.#pid, orElse: anyId });
      b.jumpIf(this.#pid, "eq", 0, child);
      b.jump(made);
      b.place(anyId);
      b.store8(args.at(64), 0);
      b.store8(args.at(72), 0);
      b.syscall("clone3", [args, 88], { store: this.#pid, message: "make the process" });
      b.jumpIf(this.#pid, "ne", 0, made);
      b.place(child);
      this.#execute(read, self);
      b.place(made);
      b.store4(this.#shared, this.#pid);
      b.syscall("close", [read]);
      b.syscall("close", [self]);
      b.syscall("close", [this.#environment]);
    });
  }

  /** Ops of the helper's process up to its execve. */
  #execute(read: Slot, self: Slot): void {
    const b = this.#b;
    const { gpus, cudaProcesses } = this.#l.checkpoint.tables;
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    b.syscall("dup3", [read, helperFd.go, 0], { message: "pass a descriptor on" });
    b.syscall("dup3", [this.#environment, helperFd.environment, 0], { message: "pass a descriptor on" });
    b.syscall("dup3", [self, helperFd.self, 0], { message: "pass a descriptor on" });
    const words = [
      "crimg-cuda",
      "resume",
      ...[helperFd.go, helperFd.environment, helperFd.self].map(String),
      "", // --gpu-map
      gpus[0]?.driver ?? "",
      gpus.map(({ uuid }) => uuid).join(","),
      ...cudaProcesses.map(({ task }) => this.#process(task)),
    ];
    const argv = b.u8s(...words.map((word) => b.string(word)), 0);
    const map = b.slots[optionSlotValues.gpu_map];
    if (map === undefined) throw new Error("no slot for --gpu-map");
    const noMap = b.label("no --gpu-map");
    b.jumpIf(map, "eq", 0, noMap);
    b.store8(argv.at(8 * words.indexOf("")), map);
    b.place(noMap);
    b.syscall("rt_sigprocmask", [SIG_SETMASK, b.u8s(0), 0, sigsetSize], { expect: "any" });
    b.syscall("execveat", [helperFd.self, b.string(""), argv, b.u8s(0), AT.emptyPath], {
      message: "execute the helper that this image carries",
      hint: "it is an ordinary program of the GNU C library: /lib64/ld-linux-x86-64.so.2 must be there, and may be executed",
    });
  }

  /** What the helper is told of a process: `PID:NAME`. */
  #process(task: number): string {
    const leader = this.#l.checkpoint.threadsOf(task)[0];
    return `${this.#l.task(task).pid}:${leader === undefined ? "" : this.#l.thread(leader).comm}`;
  }

  /** Ops of the first process with --pid any: the driver's part in a process knows the pid by which others name it. */
  refuseAnyPids(): void {
    this.#b.fail("--pid any: a program that used a GPU needs its old process ids", "use --pid same or --pid namespace");
  }

  /** Ops of the first process right after the root is forked: what closes the restore's descriptors must not close this one. */
  keepGoing(): void {
    this.#unlessRehearsed(() => this.#b.syscall("dup3", [this.#go, goFd, O.cloexec], { message: "keep a descriptor for later" }));
  }

  /** Ops of the supervisor when every thread stands still (`isTraced`) or runs already: has the driver do its part. */
  bringBack(isTraced: boolean): void {
    this.#unlessRehearsed(() => this.#bringBack(isTraced));
  }

  #bringBack(isTraced: boolean): void {
    const b = this.#b;
    const status = b.buffer(8);
    const isThere = b.label("the GPU state is there");
    if (isTraced) {
      for (const index of this.threads) {
        b.syscall("ptrace", [PTRACE.detach, this.#l.threadShared(index).u4, 0, 0], {
          message: `let the driver's thread ${this.#l.thread(index).tid} go`,
        });
      }
    }
    b.about("GPU helper", () => {
      b.syscall("write", [goFd, b.string("g"), 1], { expect: "any" });
      b.syscall("wait4", [this.#pid, status, WAIT.wall, 0], { message: "wait for it" });
      b.store4(this.#shared, 0);
      b.jumpIf(status.u4, "eq", 0, isThere);
      b.fail("the GPU state does not come back", `what the driver said stands above${isTraced ? "; nothing of the program has run" : ""}`);
      b.place(isThere);
      b.syscall("close", [goFd]);
    });
  }
}
