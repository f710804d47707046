// SPDX-License-Identifier: Apache-2.0
/**
 * What system calls do in the model. Calls about memory, descriptors and processes are modelled; of others it is known that
 * they change nothing that is looked at, and the program's own expectation is taken as their result.
 */
import assert from "node:assert/strict";
import { openSync, closeSync, readSync, statSync } from "node:fs";
import type { Op } from "./image.js";
import { Block } from "./memory.js";
import type { Machine } from "./machine.js";
import { chooseNextId, openQueue, systemVCalls } from "./sysv.js";
import { Process, Thread, type Waiting } from "./process.js";

const AF_UNIX = 1n;
const PR_SET_CHILD_SUBREAPER = 36n;
const TIOCGPTPEER = 0x5441n;
const error = { perm: -1n, refused: -111n, badf: -9n, exist: -17n, inval: -22n, nomem: -12n, noent: -2n, srch: -3n, child: -10n } as const;
const MAP = { shared: 1, fixed: 0x10, anonymous: 0x20, noReplace: 0x100000 } as const;
const MADV_DONTNEED = 4n;
const cloexec = 0o2000000;
const CLONE_PARENT = 0x8000n;

export type Call = (machine: Machine, thread: Thread, args: readonly bigint[], op: Op) => bigint | Waiting;

/** What the program itself expects of a call that is not modelled. */
export const expected = ({ expect, expectA }: Op): bigint => (expect >= 2 ? expectA : 0n);

/** A call whose file descriptors are new. */
const opens =
  (what: string, flagsAt: number, bit = cloexec): Call =>
  (_machine, { process }, args) =>
    BigInt(process.open(what, (Number(args[flagsAt] ?? 0n) & bit) === 0 ? 0 : cloexec));

const pair =
  (what: string, flagsAt: number, at: number): Call =>
  (machine, { process }, args) => {
    const flags = Number(args[flagsAt] ?? 0n);
    for (const index of [0, 1]) machine.store4(process, (args[at] ?? 0n) + BigInt(4 * index), process.open(what, flags));
    return 0n;
  };

const descriptor = ({ process }: Thread, fd: bigint | undefined) => process.descriptors.get(Number(BigInt.asIntN(32, fd ?? -1n)));

function clone(machine: Machine, { process, pc }: Thread, args: readonly bigint[]): bigint {
  const at = args[0] ?? 0n;
  const word = (index: number): bigint => machine.load8(process, at + BigInt(8 * index));
  const flags = word(0);
  assert.equal(flags & 0x100n, 0n, "a fork does not share memory: that is what the op thread is for");
  const wanted = word(9) > 0n ? machine.load4(process, word(8)) : 0;
  if (wanted !== 0 && machine.isAlive(wanted)) return error.exist;
  const pid = wanted === 0 ? machine.spareId() : wanted;
  const parent = (flags & CLONE_PARENT) === 0n ? process : (process.parent ?? process);
  const child = new Process(pid, parent, process.memory.copy(), process.mappings.copy(), new Map());
  // Copies of descriptors name the same descriptions.
  for (const [fd, { file, isCloexec }] of process.descriptors) child.descriptors.set(fd, { file, isCloexec });
  machine.inheritPages(process, child);
  machine.start(child, new Thread(child, pid, pc), 0n);
  return BigInt(pid);
}

function waitFor(machine: Machine, { process }: Thread, which: bigint, then: (child: Process) => bigint): Waiting {
  const wanted = Number(BigInt.asIntN(32, which));
  return () => {
    const own = machine.processes.filter((one) => one.parent === process && !one.isReaped && (wanted <= 0 || one.pid === wanted));
    const ended = own.find(({ exitStatus }) => exitStatus !== undefined);
    if (ended) return then(ended);
    return own.length === 0 ? error.child : undefined;
  };
}

/** Whether a range is free, and nothing else that is as wide, but for what the vDSO leaves: it is not in the model. */
function isOnlyGap(machine: Machine, process: Process, start: bigint, size: bigint): boolean {
  if (process.mappings.overlaps(start, start + size)) return false;
  const { holeBase, holeSize } = machine.image.header;
  const used = [...process.mappings.list, { start: holeBase, end: holeBase + holeSize }, { start, end: start + size }];
  used.sort((a, b) => (a.start < b.start ? -1 : 1));
  let at = 0x10000n;
  for (const range of [...used, { start: 0x7fff_ffff_f000n, end: 0n }]) {
    if (range.start - at >= size && range.start - at > 0x10000n) return false;
    if (range.end > at) at = range.end;
  }
  return true;
}

function unprivileged(call: string): Call {
  return (_machine, thread) => {
    thread.unprivileged ??= call;
    return 0n;
  };
}

export const calls: Readonly<Record<string, Call>> = {
  // Not permitted: everything is read before the program runs.
  userfaultfd: () => -1n,
  mmap: (machine, { process }, [addr = 0n, length = 0n, prot = 0n, flagWord = 0n, fd = -1n], op) => {
    const flags = Number(flagWord);
    const size = (length + 4095n) & ~4095n;
    const file = (flags & MAP.anonymous) === 0 ? process.descriptors.get(Number(BigInt.asIntN(32, fd)))?.file : undefined;
    if ((flags & MAP.anonymous) === 0 && file === undefined) return error.badf;
    const isFixed = (flags & (MAP.fixed | MAP.noReplace)) !== 0;
    if (file?.what === "io_uring" && addr !== 0n) return error.inval;
    const isOnlyPlace = file?.what === "io_uring" && op.expect >= 2 && isOnlyGap(machine, process, expected(op), size);
    const start = isFixed ? addr : isOnlyPlace ? expected(op) : machine.freeRange(process, size);
    if ((flags & MAP.noReplace) !== 0 && process.mappings.overlaps(start, start + size)) return error.exist;
    assert.ok(!machine.isInHole(start, start + size), "nothing is mapped over the hole");
    const isShared = (flags & MAP.shared) !== 0;
    process.mappings.add({ start, end: start + size, prot: Number(prot), isShared, file: file?.path ?? file?.what ?? "" });
    if (!isFixed && !isOnlyPlace) process.own.set(start, new Block(start, new Uint8Array(Number(size))));
    return start;
  },
  munmap: (machine, thread, [start = 0n, length = 0n]) => {
    const end = start + ((length + 4095n) & ~4095n);
    if (machine.isInHole(start, end)) thread.hasLeft = true;
    thread.process.mappings.remove(start, end);
    thread.process.own.delete(start);
    machine.dropPages(thread.process, start, end);
    return 0n;
  },
  mprotect: (_machine, { process }, [start = 0n, length = 0n, prot = 0n]) => {
    if (!process.mappings.covers(start, start + length)) return error.nomem;
    process.mappings.protect(start, start + length, Number(prot));
    return 0n;
  },
  mremap: (_machine, { process }, [from = 0n, old = 0n, length = 0n, , to = 0n]) => {
    const source = process.mappings.at(from);
    if (source === undefined) return -14n;
    if (old !== 0n) {
      // Moved over what waits there for it.
      assert.ok(old === length && source.start === from && source.end === from + length, "a whole mapping is moved");
      process.mappings.remove(from, from + length);
      process.mappings.add({ ...source, start: to, end: to + length });
      return to;
    }
    assert.ok(source.isShared && process.mappings.covers(from, from + length), "only shared memory can be mapped twice");
    process.mappings.add({ ...source, start: to, end: to + length });
    return to;
  },
  // The kernel's vDSO, where it is another than at the dump: six pages of data and two of code.
  arch_prctl: (machine, { process }, [what = 0n, start = 0n], op) => {
    if (what !== 0x2003n || machine.options.otherVdso === undefined) return expected(op);
    process.mappings.add({ start, end: start + 0x8000n, prot: 5, isShared: false, file: "[vdso]" });
    return 0x2000n;
  },
  msync: (_machine, { process }, [start = 0n, length = 0n]) => (process.mappings.covers(start, start + length) ? 0n : error.nomem),
  madvise: (machine, { process }, [start = 0n, length = 0n, advice = 0n]) => {
    if (!process.mappings.covers(start, start + length)) return error.nomem;
    if (advice === MADV_DONTNEED) machine.dropPages(process, start, start + length);
    return 0n;
  },
  io_setup: (machine, { process }, [count = 0n, into = 0n]) => {
    const size = (32n + 32n * (2n * count + 2n) + 4095n) & ~4095n;
    const start = machine.freeRange(process, size);
    process.mappings.add({ start, end: start + size, prot: 3, isShared: true, file: "" });
    machine.store8(process, into, start);
    return 0n;
  },
  // One that a lease keeps waiting, or a file that must not be there, is expected to fail.
  openat: (machine, { process }, [, path = 0n, flags = 0n], op) =>
    expected(op) < 0n ? expected(op) : BigInt(process.open("path", Number(flags), machine.text(process, path))),
  pipe2: pair("pipe", 1, 0),
  socketpair: pair("socket", 1, 3),
  socket: (_machine, { process }, [domain = 0n, type = 0n]) =>
    BigInt(process.open(domain === AF_UNIX ? "unix socket" : "socket", Number(type) & cloexec)),
  accept4: opens("socket", 3),
  eventfd2: opens("eventfd", 1),
  inotify_init1: opens("inotify", 0),
  fanotify_init: opens("fanotify", 0, 1),
  fsopen: opens("file system context", 1, 1),
  fsmount: opens("mount", 1, 1),
  epoll_create1: opens("epoll", 0),
  timerfd_create: opens("timerfd", 1),
  signalfd4: opens("signalfd", 3),
  memfd_create: opens("memfd", 1, 1),
  pidfd_open: opens("pidfd", 9),
  io_uring_setup: (_machine, { process }) => BigInt(process.open("io_uring", cloexec)),
  // All that is submitted is taken.
  io_uring_enter: (_machine, thread, [fd, count = 0n]) => (descriptor(thread, fd) === undefined ? error.badf : count),
  close: (_machine, { process }, [fd = 0n]) => (process.descriptors.delete(Number(fd)) ? 0n : error.badf),
  close_range: (_machine, { process }, [first = 0n, last = 0n]) => {
    for (const fd of [...process.descriptors.keys()])
      if (BigInt(fd) >= first && BigInt(fd) <= (last & 0xffffffffn)) process.descriptors.delete(fd);
    return 0n;
  },
  dup2: (_machine, thread, [from, to = 0n]) => {
    const found = descriptor(thread, from);
    if (!found) return error.badf;
    if (from !== to) thread.process.descriptors.set(Number(to), { file: found.file, isCloexec: false });
    return to;
  },
  dup3: (_machine, thread, [from, to = 0n, flags = 0n]) => {
    const found = descriptor(thread, from);
    if (!found) return error.badf;
    if (from === to) return error.inval;
    thread.process.descriptors.set(Number(to), { file: found.file, isCloexec: (Number(flags) & cloexec) !== 0 });
    return to;
  },
  fcntl: (_machine, thread, [fd, command = 0n, value = 0n]) => {
    const found = descriptor(thread, fd);
    if (!found) return error.badf;
    if (command === 0n || command === 1030n) {
      const next = thread.process.lowest(Number(value));
      thread.process.descriptors.set(next, { file: found.file, isCloexec: command === 1030n });
      return BigInt(next);
    }
    if (command === 1n) return found.isCloexec ? 1n : 0n;
    if (command === 2n) found.isCloexec = (value & 1n) !== 0n;
    return 0n;
  },
  lseek: (_machine, thread, [fd, offset = 0n, whence = 0n]) => {
    const found = descriptor(thread, fd);
    if (!found) return error.badf;
    found.file.pos = whence === 0n ? offset : found.file.pos + offset;
    return found.file.pos;
  },
  ftruncate: (_machine, thread, [fd, size = 0n]) => {
    const found = descriptor(thread, fd);
    if (!found) return error.badf;
    found.file.size = size;
    return 0n;
  },
  sendfile: (_machine, _thread, [, , , count = 0n]) => count,
  fstat: (machine, thread, [fd, into = 0n]) => {
    const found = descriptor(thread, fd);
    if (!found) return error.badf;
    const { path, size } = found.file;
    const stat = path === undefined ? undefined : statSync(path, { bigint: true, throwIfNoEntry: false });
    machine.store4(thread.process, into + 24n, Number(stat?.mode ?? 0o100600n));
    machine.store8(thread.process, into + 48n, stat?.size ?? size);
    machine.store8(thread.process, into + 88n, (stat?.mtimeNs ?? 0n) / 1_000_000_000n);
    machine.store8(thread.process, into + 96n, (stat?.mtimeNs ?? 0n) % 1_000_000_000n);
    return 0n;
  },
  newfstatat: (machine, { process }, [, name = 0n, into = 0n]) => {
    const stat = statSync(machine.text(process, name), { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return error.noent;
    machine.store4(process, into + 24n, Number(stat.mode));
    return 0n;
  },
  pread64: (machine, thread, [fd, into = 0n, length = 0n, offset = 0n]) => {
    const path = descriptor(thread, fd)?.file.path;
    if (path === undefined) return error.badf;
    const bytes = new Uint8Array(Number(length));
    const file = openSync(path, "r");
    const count = readSync(file, bytes, 0, bytes.length, offset);
    closeSync(file);
    machine.store(thread.process, into, bytes.subarray(0, count));
    return BigInt(count);
  },
  clone3: clone,
  exit: (machine, thread, [status = 0n]) => {
    thread.isOver = true;
    const others = machine.threads.filter((one) => one.process === thread.process && !one.isOver);
    if (others.length === 0) thread.process.exitStatus ??= Number(status & 0xffn) << 8;
    return 0n;
  },
  exit_group: (machine, { process }, [status = 0n]) => {
    for (const one of machine.threads) if (one.process === process) one.isOver = true;
    process.exitStatus ??= Number(status & 0xffn) << 8;
    // Whoever is above the first process is not in the model: its children stay its own.
    for (const child of machine.processes) if (child.parent === process) child.parent = process.reaper ?? process;
    return 0n;
  },
  prctl: (_machine, { process }, [option, value], op) => {
    if (option === PR_SET_CHILD_SUBREAPER) process.isSubreaper = value !== 0n;
    return expected(op);
  },
  wait4: (machine, thread, [which = -1n, status = 0n, options = 0n]) => {
    const look = waitFor(machine, thread, which, (child) => {
      child.isReaped = true;
      if (status !== 0n) machine.store4(thread.process, status, child.exitStatus ?? 0);
      return BigInt(child.pid);
    });
    return (options & 1n) !== 0n ? (look() ?? 0n) : look;
  },
  waitid: (machine, thread, [type, which = 0n, , options = 0n]) => {
    // P_PID of a process that is not known yet.
    if (type === 1n && BigInt.asIntN(32, which) <= 0n) return error.inval;
    return waitFor(machine, thread, which, (child) => {
      if ((options & 0x1000000n) === 0n) child.isReaped = true;
      return 0n;
    });
  },
  kill: (machine, _thread, [pid = 0n, signal = 0n], op) => {
    const wanted = Number(BigInt.asIntN(32, pid));
    if (wanted > 0 && !machine.isAlive(wanted)) return error.srch;
    const target = machine.processes.find((one) => one.pid === wanted);
    if (signal === 9n && target) calls["exit_group"]?.(machine, new Thread(target, wanted, 0), [0n], op);
    return 0n;
  },
  // Nobody outside listens: a program that is ready for that asks whether somebody does.
  connect: (_machine, thread, [fd], op) =>
    descriptor(thread, fd)?.file.what === "unix socket" && (op.expect === 0 || (op.flags & 1) !== 0) ? error.refused : expected(op),
  ioctl: (_machine, { process }, [, request, flags = 0n], op) =>
    request === TIOCGPTPEER ? BigInt(process.open("terminal", Number(flags))) : expected(op),
  // As under a tracer: one that is traced already cannot be seized.
  ptrace: () => error.perm,
  // The program runs now, and its first process waits for what happens to it.
  rt_sigtimedwait: () => () => undefined,
  readlink: (machine, { process }, [path = 0n], op) => {
    const pid = /^\/proc\/(\d+)\/exe$/.exec(machine.text(process, path))?.[1];
    return pid === undefined || machine.isAlive(Number(pid)) ? expected(op) : error.noent;
  },
  getpgid: (machine, _thread, [pid = 0n]) => {
    const found = machine.processes.find((one) => one.pid === Number(pid) && !one.isReaped);
    return found === undefined ? error.srch : BigInt(found.pgid);
  },
  write: (machine, thread, [fd, from = 0n, length = 0n], op) => {
    const path = descriptor(thread, fd)?.file.path ?? "";
    if (path.endsWith("_next_id")) chooseNextId(machine, path, machine.text(thread.process, from).slice(0, Number(length)));
    return expected(op);
  },
  mq_open: (machine, { process }, [name = 0n, flags = 0n]) => openQueue(machine, process, machine.text(process, name), Number(flags)),
  ...systemVCalls,
  read: (machine, thread, [fd, into = 0n, length = 0n], op) => {
    const path = descriptor(thread, fd)?.file.path;
    if (path !== "/proc/self/timens_offsets") return expected(op);
    const text = Buffer.from("monotonic           0         0\nboottime            0         0\n").subarray(0, Number(length));
    machine.store(thread.process, into, text);
    return BigInt(text.length);
  },
  getpid: (_machine, { process }) => BigInt(process.pid),
  gettid: (_machine, { tid }) => BigInt(tid),
  geteuid: () => 0n,
  getegid: () => 0n,
  getpgrp: (_machine, { process }) => BigInt(process.pgid),
  setsid: (_machine, { process }) => {
    process.sid = process.pgid = process.pid;
    return BigInt(process.pid);
  },
  setpgid: (machine, { process }, [pid = 0n, group = 0n]) => {
    const target = pid === 0n ? process : machine.processes.find((one) => one.pid === Number(pid));
    if (!target) return error.srch;
    target.pgid = group === 0n ? target.pid : Number(group);
    return 0n;
  },
  // With a saved id left as it is (who sets the owner of a file does that) the privileges can be had back.
  setresuid: (machine, thread, args, op) =>
    BigInt.asIntN(32, args[2] ?? 0n) === -1n ? 0n : unprivileged("setresuid")(machine, thread, args, op),
  capset: unprivileged("capset"),
};

/** Calls that need a privilege, or make something: none may come after credentials were given up. */
export const needsPrivilege: ReadonlySet<string> = new Set(
  "openat mmap mremap clone3 dup3 dup2 mount chroot setns unshare setresgid setgroups sched_setattr setpgid setsid timer_create".split(" "),
);
