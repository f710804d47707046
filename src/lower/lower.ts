// SPDX-License-Identifier: Apache-2.0
/**
 * Lowering: a checkpoint becomes a restore program. Pure; the only places where the outcome depends on the machine are
 * jumps in the program itself.
 *
 * The first process (what the caller's execve became) prepares everything that is shared, forks the root, which forks
 * the rest; when all are ready it lets them go and ends or waits.
 */
import { openParents } from "./parents.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { OpenFileRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { unlikeOthers } from "../model/space-columns.js";
import { findRoom, usedRanges } from "./address-space.js";
import { reportRehearsal } from "./rehearsal.js";
import { awaitEnds } from "./await-ends.js";
import { AUXV, PR, RLIMIT_NOFILE, SIG_SETMASK, pageSize, sigsetSize, taskSize } from "./constants.js";
import { continueClocks } from "./clocks.js";
import type { DescriptorLowering, LowerContext } from "./context.js";
import { DeviceLowering, type HelperPlace } from "./devices.js";
import { lowerForeground, lowerPidfile } from "./foreground.js";
import { enterOwnNamespaces } from "./own-namespaces/enter.js";
import { lowerSupervision, tellRunning } from "./release-threads.js";
import { type LinkedProgram, linkProgram } from "./link-program.js";
import { planInheritance } from "./inheritance.js";
import { LazyMemory, sayEager } from "./lazy.js";
import { Lowering } from "./lowering.js";
import { openMappedObjects } from "./memory.js";
import { lowerNamespaces } from "./namespaces.js";
import { type Arg, type Label, type Slot, auxv, holeBase, holeEnd, supervisor } from "./operands.js";
import { rangesToClose } from "./fds/place.js";
import { resetSignalActions } from "./signals.js";
import { threadInVdso } from "./other-vdso.js";
import { makeQueues } from "./sysv/queues.js";
import { type Directories, type TreeLowering, lowerTask, tasksForkedFromMemory } from "./task.js";
import { releaseCallersTerminal } from "./controlling-terminal.js";
import { planTree } from "./tree-plan.js";
import { optionSlotValues, pidModeValues } from "../gen/restore-program.js";

export interface LowerOptions {
  /** Bytes of page 0 and the interpreter, a multiple of the page size. */
  readonly codeSize: bigint;
  /** Offset from the hole's base of a `syscall` instruction of the interpreter. */
  readonly codeSyscallOffset: bigint;
  /** Checksum of the interpreter (checksum.ts). */
  readonly codeChecksum: number;
  /** Where the helper is in the image; needed for programs that used a GPU. */
  readonly helper?: HelperPlace;
  /** Records \`frame\` of stored bytes that are compressed. */
  readonly frames?: { readonly records: Uint8Array; readonly count: number };
  /** Makes the part that restores descriptors. */
  readonly lowerDescriptors: (context: LowerContext) => DescriptorLowering;
}

/** @throws CrimgError `lower.*` for what no restore program can do. */
export function lowerCheckpoint(checkpoint: Checkpoint, options: LowerOptions): LinkedProgram {
  assertLowerable(checkpoint);
  const l = new Lowering(checkpoint);
  const b = l.builder;
  const { tables } = checkpoint;
  const row = tables.checkpoint[0];
  const tree = planTree(tables.tasks, row?.rootTask ?? 0);
  const entry = b.label("start");
  const makeTree = b.label("make the tree");
  const leaveInit = b.label("init stays");
  const finish = b.label("the tree runs");
  const anyPids = b.label("take any pids");
  const [detach, , pidMode] = b.slots;
  if (detach === undefined || pidMode === undefined) throw new Error("no option slots");
  const descriptors = options.lowerDescriptors(l);
  const devices = DeviceLowering.of(l, options.helper);

  b.place(entry);
  if (options.frames !== undefined) b.op("frames", [b.bytes(options.frames.records), options.frames.count]);
  const euid = prepareFirstProcess(l, row?.vdsoBuildId ?? new Uint8Array(0), devices);
  if (devices !== undefined) {
    // The driver has one state of a GPU, and the program that was dumped may be using it.
    const isReal = b.label("no rehearsal on a GPU");
    b.jumpIf(b.rehearsal, "eq", 0, isReal);
    b.fail("a program that uses GPUs cannot be rehearsed", "Leave --rehearse out.");
    b.place(isReal);
  }
  const { own } = l;
  if (own !== undefined && devices !== undefined) {
    throw new CrimgError("lower.namespaces", "a program that uses GPUs cannot be resumed in namespaces of its own", { path: "namespaces" });
  }
  b.outside(() => {
    // In a pid namespace of its own nobody else has its ids.
    if (own?.hasPids !== true) awaitEnds(l);
    releaseCallersTerminal(l, detach);
  });
  const namespaced = b.label("in namespaces");
  b.jumpIf(b.rehearsal, "ne", 0, namespaced);
  if (own?.hasPids === true) {
    // Its ids are free there, whoever makes it.
    if (own.user !== undefined) b.jump(makeTree);
  } else {
    b.jumpIf(pidMode, "eq", pidModeValues.any, anyPids);
    b.jumpIf(pidMode, "eq", pidModeValues.same, makeTree);
    b.jumpIf(pidMode, "eq", pidModeValues.namespace, namespaced);
  }
  b.jumpIf(euid, "eq", 0, makeTree);
  b.place(namespaced);
  const init = lowerNamespaces(l, euid, makeTree);
  const initEnded = b.label("init ended");
  b.wait(l.running, 1, init, { expect: "not_error", orElse: initEnded });
  end(l, init, false);
  b.place(initEnded);
  reportRehearsal(l, l.rehearsed);
  becomeSupervisor(l);
  b.fail("the first process of the new pid namespace was killed before the tree ran", "there may not be enough memory");

  b.place(makeTree);
  devices?.start();
  const inheritance = planInheritance(checkpoint, tree.tasks);
  const labels = tables.tasks.map((_, task) => b.label(`task ${l.taskName(task)}`));
  const rootLabel = labels[tree.root];
  if (rootLabel === undefined) throw new Error("no root");
  let directories: readonly Directories[] = [];
  const prepare = (): void => {
    directories = openDirectories(l);
    l.threadDirectories.open();
    l.staged.make(l);
    tables.tasks.forEach((task, index) => {
      if (task.mm === null || task.state === "zombie") return;
      openMappedObjects(l.memoryParts, task.mm, l.taskSubject(index));
    });
    l.semaphores.make();
    makeQueues(l);
    l.cgroups?.make();
    descriptors.openFiles();
    l.objects.takeDescriptors((object) => descriptors.mapped(object));
    l.objects.seal();
  };
  const supervisorStart = b.label("every task is forked");
  const outside = b.label("the tree runs, seen from outside");
  let rootPid: Arg = l.taskPid(tree.root);
  if (own === undefined) {
    continueClocks(l);
    l.lazy = LazyMemory.of(checkpoint, b, l.imageFd, inheritance);
    l.lazy?.start(
      l.processes,
      () => l.spareId(),
      (fd) => l.keepHigh(fd),
    );
    // Until then all processors are there for what the program waits for: the pager would have one for milliseconds at a time.
    if (l.lazy !== undefined) l.lasting.keepLongest(l.lazy.socket);
    prepare();
    const rootRow = l.task(tree.root);
    l.processes.fork(
      {
        pid: rootRow.pid,
        flags: 0,
        exitSignal: rootRow.exitSignal || 17,
        shared: l.taskShared(tree.root),
        what: `process ${l.taskName(tree.root)}`,
      },
      rootLabel,
    );
  } else {
    sayEager(checkpoint, b, "the program has namespaces of its own");
    const { root } = enterOwnNamespaces(l, { plan: own, task: tree.root, euid, supervise: supervisorStart, rootLabel, prepare });
    rootPid = root.u4;
    tellRunning(l);
    b.jump(outside);
  }
  b.place(supervisorStart);
  const t: TreeLowering = {
    inheritance,
    forkedFromMemory: tasksForkedFromMemory(tree, inheritance),
    l,
    tree,
    descriptors,
    directories,
    labels,
    counts: {
      placed: tree.tasks.length + tree.tasks.filter(({ group }) => group.kind === "revive").length,
      orphaned: tree.tasks.filter(({ orphans }) => orphans.length > 0).length,
      joined: tree.tasks.filter(({ group }) => group.kind !== "inherit" && group.kind !== "lead").length,
      living: tables.tasks.filter((task) => task.state !== "zombie").length,
    },
  };
  if (l.objects.hasLate || descriptors.hasSettling || l.ended.isUsed) {
    b.wait(l.descriptorsPlaced, t.counts.living);
    if (own === undefined) l.ended.finish();
    l.objects.finishLate();
  }
  devices?.keepGoing();
  // Whatever this process kept open would hide the end of pipes and sockets from the tree.
  l.lasting.keep();
  if (descriptors.hasSettling) {
    b.syscall("close_range", [l.highFds.first, l.highFds.firstLasting - 1, 0], { message: "close what the restore had open" });
    descriptors.settle();
  }
  l.lasting.closeOthers();
  if (l.staged.range !== undefined) b.syscall("munmap", [l.staged.range.start, l.staged.range.end - l.staged.range.start]);
  const supervise = b.label("supervise");
  b.jump(supervise);

  for (const plan of tree.tasks) lowerTask(t, plan);

  b.place(supervise);
  lowerSupervision(l, options.codeSyscallOffset, finish, devices);
  b.place(finish);
  if (own !== undefined) b.syscall("exit_group", [0]);
  b.place(outside);
  b.syscall("prctl", [PR.setChildSubreaper, 0, 0, 0, 0]);
  b.jumpIf(l.isNamespaced, "ne", 0, leaveInit);
  end(l, rootPid, false);
  b.place(leaveInit);
  lowerForeground(l, { child: rootPid, isInit: true, tree });

  b.place(anyPids);
  devices?.refuseAnyPids();
  l.processes.takeAnyPids();
  b.jump(makeTree);
  return link(l, entry, options, devices);

  function end(lowering: Lowering, child: Arg, isInit: boolean): void {
    const stay = b.label("stay in the foreground");
    lowerPidfile(lowering, child);
    b.jumpIf(detach ?? 0, "eq", 0, stay);
    b.syscall("exit_group", [0]);
    b.place(stay);
    lowerForeground(lowering, { child, isInit, tree });
  }
}

/** The init, which would have said what is wrong, is gone. */
function becomeSupervisor(l: Lowering): void {
  const own = l.builder.slot("own id of the first process");
  l.builder.syscall("gettid", [], { store: own });
  l.builder.store4(supervisor, own);
}

/** Blocks signals, checks what can be checked before anything is made, and clears this process. */
function prepareFirstProcess(l: Lowering, vdsoBuildId: Uint8Array, devices: DeviceLowering | undefined): Slot {
  const b = l.builder;
  const euid = b.slot("effective user");
  b.syscall("rt_sigprocmask", [SIG_SETMASK, b.u8s(0xffff_ffff_ffff_ffffn), 0, sigsetSize], { message: "block signals" });
  b.syscall("prctl", [PR.setChildSubreaper, 1, 0, 0, 0], { message: "become a child subreaper" });
  checkMachine(l, vdsoBuildId);
  b.syscall("geteuid", [], { store: euid });
  l.callersUser = euid;
  const notRoot = b.label("not root");
  b.jumpIf(euid, "ne", 0, notRoot);
  b.compute(l.isPrivileged, "move", 1);
  b.place(notRoot);
  resetSignalActions(b);
  b.syscall("umask", [0], { expect: "any" });
  const limit = b.buffer(16);
  b.syscall("prlimit64", [0, RLIMIT_NOFILE, 0, limit], { message: "read the limit on open files" });
  b.copy(limit, limit.at(8), 8);
  b.syscall("prlimit64", [0, RLIMIT_NOFILE, limit, 0], { message: "raise the limit on open files" });
  // Only 0 to 2 may be the tree's; the image's own descriptor moves out of the way.
  l.keepHigh(l.imageFd);
  for (const { first, last } of rangesToClose([0, 1, 2, ...inheritedNumbers(l)], l.firstHighFd)) {
    b.syscall("close_range", [first, last, 0], { message: "close inherited descriptors" });
  }
  b.syscall("close_range", [l.imageFd.plus(1), 0xffff_ffff, 0], { message: "close inherited descriptors" });
  if (!hasOwnRoot(l.checkpoint)) refuseRootfs(l);
  openParents(l);
  if (devices === undefined) refuseGpuMap(l);
  else devices.keepEnvironment();
  b.syscall("munmap", [0, holeBase], { message: "unmap what is below the hole" });
  const above = b.slot("bytes above the hole");
  b.compute(above, "sub", taskSize, holeEnd);
  b.syscall("munmap", [holeEnd, above], { message: "unmap what is above the hole" });
  l.otherVdso?.completeJumps();
  return euid;
}

/** Descriptors of the caller that the program takes over, beside its standard streams. */
function inheritedNumbers(l: Lowering): number[] {
  const { files } = l.checkpoint.tables;
  const numbers: number[] = [];
  for (let index = 0; index < files.length; index++) {
    const { kind, detail } = files[index] as OpenFileRow;
    if (kind === "inherited" && detail !== null && detail > 2) numbers.push(detail);
  }
  const wrong = numbers.find((number) => number >= l.firstHighFd);
  if (wrong !== undefined) {
    throw new CrimgError("lower.inherited", `descriptor ${wrong} is too large a number to be taken over`, {
      hint: `choose one below ${l.firstHighFd}`,
    });
  }
  return numbers;
}

const hasOwnRoot = ({ tables }: Checkpoint): boolean => tables.mounts.some(({ origin }) => origin === "rootfs");

function refuseRootfs(l: Lowering): void {
  const b = l.builder;
  const rootfs = b.slots[optionSlotValues.rootfs];
  const isAbsent = b.label("no --rootfs");
  if (rootfs === undefined) throw new Error("no slot for --rootfs");
  b.jumpIf(rootfs, "eq", 0, isAbsent);
  b.fail("--rootfs: this program has no root directory of its own", "leave the option out");
  b.place(isAbsent);
}

/** An option that would do nothing is a mistake of whoever gave it. */
function refuseGpuMap(l: Lowering): void {
  const b = l.builder;
  const map = b.slots[optionSlotValues.gpu_map];
  const isAbsent = b.label("no --gpu-map");
  if (map === undefined) throw new Error("no slot for --gpu-map");
  b.jumpIf(map, "eq", 0, isAbsent);
  b.fail("--gpu-map: this program used no GPU", "leave the option out");
  b.place(isAbsent);
}

/** The program was using this kernel's vDSO and this processor's features. */
function checkMachine(l: Lowering, vdsoBuildId: Uint8Array): void {
  const b = l.builder;
  const hasVdso = [...unlikeOthers(l.checkpoint.tables.vmas)].some(([, { kind }]) => kind === "vdso");
  if (hasVdso && vdsoBuildId.length > 0) {
    const [other, same] = [b.label("the vDSO is another"), b.label("the vDSO is known")];
    b.find(auxv(AUXV.sysinfoEhdr), pageSize, b.bytes(vdsoBuildId), vdsoBuildId.length, { expect: "not_error", orElse: other });
    b.jump(same);
    b.place(other);
    const inside = threadInVdso(l.checkpoint);
    if (l.otherVdso === undefined || inside !== undefined) {
      b.fail(
        inside === undefined
          ? "this kernel's vDSO is another than at the dump, whose code is not in the image, and the program may hold addresses in it"
          : `this kernel's vDSO is another than at the dump, and thread ${inside} stood in its code`,
        "resume on the kernel build that it was dumped on",
      );
    } else l.otherVdso.findFunctions();
    b.place(same);
  }
  l.xstates.checkProcessor(b);
  l.xstates.fitProcessor(b);
}

function openDirectories(l: Lowering): readonly Directories[] {
  return l.checkpoint.tables.tasks.map((row, task) => {
    if (row.state === "zombie") return {};
    return l.builder.about(l.taskSubject(task), () => ({
      cwd: row.cwd === null ? undefined : l.openDirectory(row.cwd, "as current directory"),
      root: row.root === null ? undefined : l.openDirectory(row.root, "as root directory"),
    }));
  });
}

const gpuMapUsage = "  --gpu-map OLD=NEW  another GPU of the same kind instead of the old one, both GPU-…; several with commas\n";

function link(l: Lowering, entry: Label, options: LowerOptions, devices: DeviceLowering | undefined): LinkedProgram {
  const { tables } = l.checkpoint;
  const used = l.otherVdso === undefined ? l.used : usedRanges([...l.used, l.otherVdso.room]);
  const row = tables.checkpoint[0];
  const root = row?.rootTask ?? 0;
  const when = new Date(Number((row?.createdNs ?? 0n) / 1_000_000n)).toISOString();
  const title = `${l.taskSubject(root)}, dumped ${when}`;
  return linkProgram(l.builder, entry, {
    codeSize: options.codeSize,
    codeChecksum: options.codeChecksum,
    chooseHole: (size) => findRoom(used, size),
    title,
    usage:
      `This file is a checkpoint of ${title}. Running it resumes the program.\n\n` +
      "  --detach, -d       end when the program runs, instead of waiting for it\n" +
      "  --pidfile FILE     write its process id to FILE\n" +
      "  --lazy             run before all memory is there; a pager brings it (CAP_SYS_PTRACE, userfaultfd)\n" +
      "  --eager            read all memory before the program runs; " +
      `this image's own choice: ${row?.isLazy === 1 ? "--lazy" : "--eager"}\n` +
      "  --no-verify        take stored bytes as they are, without a look at their checksums\n" +
      "  --leave-stopped    leave every process stopped; SIGCONT lets it run\n" +
      "  --pid MODE         same: its old process ids (root); namespace: the same, in a new pid namespace; any: new ones;\n" +
      "                     auto (default): same for root, else namespace\n" +
      "  --clock MODE       continue: monotonic and boot clock go on where they were; host: they are this machine's;\n" +
      `                     this image's own choice: ${row?.clock ?? "continue"}\n` +
      "  --rehearse         resume it in namespaces of its own, up to where it would run, and discard it; status 0 if that works\n" +
      "  --files POLICY     what files must be that the program maps or has open. same (default): those of the dump, as build-ids,\n" +
      "                     sizes and times tell; strict: untouched too; any: whatever is there. POLICY:/PATH for one file;\n" +
      "                     may be given several times, a later one counts\n" +
      (hasOwnRoot(l.checkpoint) ? "  --rootfs DIR       the directory with the files of its root\n" : "") +
      (devices === undefined ? "" : gpuMapUsage) +
      "  --help, -h         this text\n\n" +
      "Exit status: that of the program; 125 if it could not be resumed (nothing of it is left running then);\n" +
      "126 for a wrong option; 127 if this file is damaged.\n",
  });
}

function assertLowerable(checkpoint: Checkpoint): void {
  const { tasks, threads, mms, vmas, objects } = checkpoint.tables;
  const fail = (code: string, message: string, path: string): never => {
    throw new CrimgError(code, message, { path });
  };
  if (tasks.length === 0) fail("lower.empty", "the checkpoint has no task", "tasks");
  const owners = new Map<number, number>();
  tasks.forEach((row, index) => {
    if (row.parent !== null && row.parent >= index)
      fail("lower.parent", `task ${row.pid} comes before its parent`, `tasks[${index}].parent`);
    if (row.state === "zombie") return;
    if (row.mm === null || mms[row.mm] === undefined) fail("lower.reference", `task ${row.pid} has no address space`, `tasks[${index}].mm`);
    const other = owners.get(row.mm ?? -1);
    if (other !== undefined)
      fail("lower.shared-mm", `tasks ${row.pid} and ${tasks[other]?.pid} share an address space`, `tasks[${index}].mm`);
    owners.set(row.mm ?? -1, index);
    if (checkpoint.threadsOf(index).length === 0) fail("lower.reference", `task ${row.pid} has no thread`, `tasks[${index}]`);
  });
  threads.forEach((row, index) => {
    if (tasks[row.task] === undefined) fail("lower.reference", `thread ${row.tid} has no task`, `threads[${index}].task`);
    // 0: the format did not say.
    const isCode64 = row.regs.cs === 0x33n || row.regs.cs === 0n;
    if (!isCode64)
      fail(
        "lower.registers",
        `thread ${row.tid} does not run 64-bit code (cs is 0x${row.regs.cs.toString(16)})`,
        `threads[${index}].regs.cs`,
      );
  });
  // Others are as the kernel has told them.
  for (const [index, row] of unlikeOthers(vmas)) {
    const isAligned = row.start % pageSize === 0n && row.end % pageSize === 0n;
    const isInUserSpace = row.end <= taskSize || row.kind === "vsyscall";
    if (!isAligned || !isInUserSpace || row.start >= row.end) {
      fail(
        "lower.vma",
        `the mapping ${row.start.toString(16)}-${row.end.toString(16)} is not a range of pages in user space`,
        `vmas[${index}]`,
      );
    }
    if (row.object !== null && objects[row.object] === undefined)
      fail("lower.reference", `there is no object ${row.object}`, `vmas[${index}].object`);
  }
}
