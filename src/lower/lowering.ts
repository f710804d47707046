// SPDX-License-Identifier: Apache-2.0
/** What the parts of one lowering have in common: builder, objects, counters, ids, names. */
import { CrimgError } from "../errors/crimg-error.js";
import type { TaskRow, ThreadRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { CgroupLowering } from "./cgroups.js";
import { F, O } from "./constants.js";
import { EndedProcesses } from "./ended-processes.js";
import { FileChecks } from "./file-checks.js";
import type { Identity, LowerContext } from "./context.js";
import { chooseHighFds, type HighFds } from "./high-fds.js";
import { LastingFds } from "./lasting-fds.js";
import { ObjectOpener } from "./objects.js";
import type { Arg, DataRef, Shared, Slot } from "./operands.js";
import { ProcessMaker } from "./process.js";
import { ProgramBuilder } from "./program-builder.js";
import { type AddressRange, usedByAll, usedRanges } from "./address-space.js";
import type { LazyMemory } from "./lazy.js";
import type { MemoryParts } from "./memory.js";
import { OtherVdso } from "./other-vdso.js";
import type { ReadingParts } from "./read-pages.js";
import { withinMounts } from "./own-namespaces/several.js";
import { type OwnNamespacesPlan, planOwnNamespaces } from "./own-namespaces/plan.js";
import type { StoredIn } from "./page-loading.js";
import { StagedMemory } from "./shared-memory.js";
import { putUserRegs, tracedRegisters } from "./registers.js";
import { runAs } from "./run-as.js";
import { SeccompLowering } from "./seccomp.js";
import { SpareIds } from "./spare-ids.js";
import { SemaphoreLowering } from "./sysv/semaphores.js";
import { ThreadDirectories } from "./thread-directories.js";
import { type TileCode, tileCode } from "./tiles.js";
import { Xstates } from "./xstate.js";

export class Lowering implements LowerContext {
  readonly builder = new ProgramBuilder();
  readonly imageFd: Slot;
  readonly highFds: HighFds;
  readonly firstHighFd: number;
  readonly checks: FileChecks;
  readonly objects: ObjectOpener;
  readonly staged: StagedMemory;
  readonly processes: ProcessMaker;
  readonly ended: EndedProcesses;
  /** 1 for root and in a user namespace of our own. */
  readonly isPrivileged: Slot;
  /** Effective user of the caller, once it is asked for. */
  callersUser: Slot | undefined;
  /** 1 in namespaces of our own. */
  readonly isNamespaced: Slot;
  /** Descriptor of the caller's terminal once it is given up for the tree; else 0. */
  readonly callersTerminal: Slot;
  readonly threadPids: readonly Shared[];
  readonly taskPids: readonly Shared[];
  /** Every task (zombies too) and helper exists and leads or is in its session. */
  readonly placed: Shared;
  /** Helpers that left orphans behind are gone. */
  readonly orphaned: Shared;
  /** Those who join a process group of another did. */
  readonly joined: Shared;
  /** Every task has its descriptors at their numbers. */
  readonly descriptorsPlaced: Shared;
  /** Every thread is ready to leave. */
  readonly ready: Shared;
  /** The tracer has every thread. */
  readonly seized: Shared;
  /** Every task that had to set something after that did. */
  readonly settled: Shared;
  /** Leave without a tracer. */
  readonly go: Shared;
  /** Descriptor tables that several tasks share, by the task that makes them. */
  readonly descriptorTables = new Map<number, { readonly released: Shared; sharers: number }>();
  /** The whole tree runs. */
  readonly running: Shared;
  /** The supervisor of a tree in namespaces of its own is done. */
  readonly supervised: Shared;
  /** What namespaces are the tree's own. */
  readonly own: OwnNamespacesPlan | undefined;
  /** Descriptors of namespaces of a kind of which the tree has several, by their rows. */
  readonly inside = new Map<number, Slot>();
  /** A rehearsal came to its end. */
  readonly rehearsed: Shared;
  /** See LowerContext.untilEnd. */
  readonly lasting: LastingFds;
  /** How the tree comes into its control groups, if they are kept. */
  readonly cgroups: CgroupLowering | undefined;
  /** How threads come under seccomp, if any does. */
  readonly seccomp: SeccompLowering | undefined;

  readonly threadDirectories: ThreadDirectories;
  readonly semaphores: SemaphoreLowering;
  /** What may come when the program runs already; set before the ops of tasks are made. */
  lazy: LazyMemory | undefined;

  /** Images that have pages of this one. */
  readonly parents: StoredIn[] = [];

  readonly #spareIds: SpareIds;
  /** By row of threads. */
  readonly #userRegs: (DataRef | undefined)[] = [];
  readonly #lasting = new Map<number | Slot, Slot>();

  readonly xstates: Xstates;
  /** Where anything is mapped in any task, or staged. */
  readonly used: readonly AddressRange[];
  /** What it takes where the kernel's vDSO is another than at the dump; undefined where nothing helps. */
  readonly otherVdso: OtherVdso | undefined;
  /** What makes room for AMX tiles, if any thread has some. */
  readonly tileCode: TileCode | undefined;

  constructor(readonly checkpoint: Checkpoint) {
    const b = this.builder;
    this.xstates = new Xstates(b, checkpoint);
    this.tileCode = tileCode(this);
    const { tasks, threads } = checkpoint.tables;
    const imageFd = b.slots[3];
    if (imageFd === undefined) throw new Error("no image fd slot");
    this.imageFd = imageFd;
    this.isPrivileged = b.slot("is privileged");
    this.isNamespaced = b.slot("is in own namespaces");
    this.highFds = chooseHighFds(checkpoint);
    this.firstHighFd = this.highFds.first;
    this.lasting = new LastingFds(b, this.highFds);
    this.callersTerminal = b.slot("the caller's terminal");
    this.checks = new FileChecks(b, checkpoint);
    const mapped = usedByAll(checkpoint.tables.vmas);
    this.staged = new StagedMemory(checkpoint, mapped);
    this.used = this.staged.range === undefined ? mapped : usedRanges([...mapped, this.staged.range]);
    this.otherVdso = OtherVdso.of(b, checkpoint, this.used);
    this.objects = new ObjectOpener(checkpoint, b, this.firstHighFd, this.imageFd, this.checks, this.staged);
    this.processes = new ProcessMaker(b);
    this.ended = new EndedProcesses(this);
    this.objects.ended = this.ended;
    this.objects.within = withinMounts(this);
    this.#spareIds = new SpareIds(checkpoint);
    this.taskPids = tasks.map((row) => (row.state === "zombie" ? b.endingPid(`pid of ${row.pid}`) : b.pid(`pid of ${row.pid}`)));
    this.threadPids = threads.map((row) => {
      const leader = tasks[row.task];
      const own = this.taskPids[row.task];
      return leader !== undefined && own !== undefined && leader.pid === row.tid ? own : b.pid(`tid of ${row.tid}`);
    });
    this.placed = b.counter("placed");
    this.orphaned = b.counter("orphaned");
    this.joined = b.counter("joined");
    this.descriptorsPlaced = b.counter("descriptorsPlaced");
    this.ready = b.counter("ready");
    this.seized = b.counter("seized");
    this.settled = b.counter("settled");
    this.go = b.counter("go");
    this.running = b.counter("running");
    this.supervised = b.counter("supervised");
    this.own = planOwnNamespaces(checkpoint.tables, checkpoint.tables.checkpoint[0]?.rootTask ?? 0);
    this.rehearsed = b.counter("rehearsed");
    this.seccomp = SeccompLowering.of(this);
    this.cgroups = CgroupLowering.of(this);
    this.threadDirectories = new ThreadDirectories(this);
    this.semaphores = new SemaphoreLowering(this);
    for (const { descriptorTable, state } of tasks) {
      if (descriptorTable === null || state === "zombie") continue;
      const table = this.descriptorTables.get(descriptorTable);
      if (table) table.sharers++;
      else this.descriptorTables.set(descriptorTable, { released: b.counter(`table of ${descriptorTable} released`), sharers: 1 });
    }
  }

  /** What the ops that make address spaces are made of. */
  get memoryParts(): MemoryParts & ReadingParts {
    const { checkpoint, builder, objects, staged, imageFd, parents, processes, lazy, otherVdso } = this;
    return { checkpoint, builder, objects, staged, imageFd, parents, processes, lazy, otherVdso, spareId: () => this.#spareIds.next() };
  }

  keepLast(fd: Slot, key: number | Slot): void {
    const kept = this.builder.slot(`${fd.name}, for the end`);
    this.builder.syscall("fcntl", [fd, F.dupfdCloexec, this.highFds.firstLasting], {
      store: kept,
      message: "keep a descriptor for the end",
      hint: "raise the hard limit on open files (ulimit -Hn)",
    });
    this.#lasting.set(key, kept);
  }

  lastOf(key: number | Slot): Slot | undefined {
    return this.#lasting.get(key);
  }

  /** The registers of a thread, as ptrace and the op `leave` take them. */
  userRegs(thread: number): DataRef {
    const known = this.#userRegs[thread] ?? putUserRegs(this.builder, tracedRegisters(this.thread(thread).regs));
    this.#userRegs[thread] = known;
    return known;
  }

  /** An id for a process that ends before the tree runs. */
  spareId(): number {
    return this.#spareIds.next();
  }

  keepHigh(fd: Slot): void {
    this.objects.keepHigh(fd);
  }

  openObject(object: number, flags: number, purpose: string): Slot {
    return this.objects.open(object, { flags, purpose });
  }

  checkOpened(fd: Slot, object: number, purpose: string): void {
    const row = this.checkpoint.tables.objects[object];
    // Where a bundled file comes from was decided when it was opened.
    if (row !== undefined && row.bundled === 0) this.checks.checkOpened(fd, object, row, purpose);
  }

  task(index: number): TaskRow {
    const row = this.checkpoint.tables.tasks[index];
    if (row === undefined) throw new CrimgError("lower.reference", `there is no task ${index}`, { path: `tasks[${index}]` });
    return row;
  }

  thread(index: number): ThreadRow {
    const row = this.checkpoint.tables.threads[index];
    if (row === undefined) throw new CrimgError("lower.reference", `there is no thread ${index}`, { path: `threads[${index}]` });
    return row;
  }

  /** `4711 (redis-server)`. */
  taskName(task: number): string {
    const leader = this.checkpoint.threadsOf(task)[0];
    const comm = leader === undefined ? "" : this.thread(leader).comm;
    return `${this.task(task).pid}${comm === "" ? "" : ` (${comm})`}`;
  }

  taskSubject(task: number): string {
    return `task ${this.taskName(task)}`;
  }

  taskPid(task: number): Arg {
    return this.taskShared(task).u4;
  }

  untilEnd(slots: readonly Slot[], build: (fds: readonly number[]) => void): void {
    this.lasting.add(slots, build);
  }

  runAs(identity: Identity, build: () => void): void {
    runAs(this.builder, this.processes, identity, build);
  }

  threadId(thread: number): Arg {
    return this.threadShared(thread).u4;
  }

  taskShared(task: number): Shared {
    const shared = this.taskPids[task];
    if (shared === undefined) throw new RangeError(`no task ${task}`);
    return shared;
  }

  threadShared(thread: number): Shared {
    const shared = this.threadPids[thread];
    if (shared === undefined) throw new RangeError(`no thread ${thread}`);
    return shared;
  }

  /** Opens a directory for chroot or fchdir. Ops of the first process. */
  openDirectory(object: number, purpose: string): Slot {
    return this.objects.open(object, { flags: O.path | O.directory, purpose });
  }
}
