// SPDX-License-Identifier: Apache-2.0
/**
 * What the process that the caller started does once the tree runs: with --detach it ends; else it stays as a parent
 * that passes signals, job control and the terminal on, and ends as the program ends.
 */
import { AT, ERRNO, O, SIG, SIG_SETMASK, WAIT, sigsetSize } from "./constants.js";
import { type Lent, setTerminalModes } from "./terminal-modes.js";
import type { Lowering } from "./lowering.js";
import type { Arg, Slot } from "./operands.js";
import type { TreePlan } from "./tree-plan.js";

const TIOCGPGRP = 0x540f;
const TIOCSPGRP = 0x5410;
/** si_code of signals that the kernel makes, such as those of terminal keys. */
const SI_KERNEL = 0x80;
const allSignals = 0xffff_ffff_ffff_ffffn;
const RLIMIT_CORE = 4;

export interface ForegroundOptions {
  /** The process waited for: a child of this one. */
  readonly child: Arg;
  /** True for the init of a pid namespace: it also reaps orphans, and no signal with a default action ends it. */
  readonly isInit: boolean;
  readonly tree: TreePlan;
}

/** Writes the process id to the file that --pidfile names. */
export function lowerPidfile(l: Lowering, pid: Arg): void {
  const b = l.builder;
  const path = b.slots[1];
  if (path === undefined) throw new Error("no pidfile slot");
  const done = b.label("pidfile is written");
  const text = b.buffer(16);
  const length = b.slot("length of the pid");
  const fd = b.slot("fd of the pidfile");
  const message = "write the file that --pidfile names";
  b.jumpIf(path, "eq", 0, done);
  b.format(text, "", pid, "\n", { store: length });
  b.syscall("openat", [AT.fdcwd, path, O.wronly | O.creat | 0o1000 | O.cloexec, 0o644], { store: fd, message });
  b.syscall("write", [fd, text, length], { message });
  b.syscall("close", [fd]);
  b.place(done);
}

/** Waits until the child ends, and ends in the same way. Does not return. */
export function lowerForeground(l: Lowering, options: ForegroundOptions): void {
  const b = l.builder;
  const { child, isInit, tree } = options;
  const next = b.label("wait for a signal");
  const reap = b.label("something happened to a child");
  const stopped = b.label("the program stopped");
  const suspend = b.label("the terminal asks to stop");
  const killed = b.label("the program was killed");
  const signal = b.slot("signal");
  const info = b.buffer(128);
  const status = b.buffer(8);
  const result = b.slot("whose status");
  const byte = b.slot("low byte of the status");
  const code = b.slot("exit status");
  const hold = isInit ? [] : [takeTerminal(l, tree, child), setTerminalModes(l, child)];
  const terminal = {
    give: () => hold.forEach((part) => part?.give()),
    giveBack: () => hold.forEach((part) => part?.giveBack()),
  };
  const self = b.slot("own pid");
  b.syscall("getpid", [], { store: self });

  b.place(next);
  b.syscall("rt_sigtimedwait", [b.u8s(allSignals), info, 0, sigsetSize], { store: signal, expect: "any" });
  b.jumpIf(signal, "eq", -ERRNO.intr, next);
  const failed = b.label("cannot wait for signals");
  b.jumpIf(signal, "lt", 0, failed);
  b.jumpIf(signal, "eq", SIG.chld, reap);
  for (const one of [SIG.tstp, SIG.ttin, SIG.ttou]) b.jumpIf(signal, "eq", one, suspend);
  // Keys of the terminal reach the program itself if it is in our process group.
  if (tree.isRootInCallersGroup) b.jumpIf(info.at(8).u4, "eq", SI_KERNEL, next);
  b.syscall("kill", [child, signal], { expect: "any" });
  b.jump(next);

  b.place(suspend);
  if (isInit) b.jump(next);
  if (!tree.isRootInCallersGroup) b.syscall("kill", [child, SIG.stop], { expect: "any" });
  b.syscall("kill", [self, SIG.stop], { expect: "any" });
  b.syscall("kill", [child, SIG.cont], { expect: "any" });
  b.jump(next);

  b.place(reap);
  if (!isInit) l.lazy?.reap();
  b.syscall("wait4", [isInit ? -1 : child, status, WAIT.nohang | (isInit ? 0 : WAIT.untraced), 0], {
    store: result,
    message: "look how the program ends",
  });
  b.jumpIf(result, "lt", 1, next);
  b.jumpIf(result, "ne", child, reap);
  b.compute(byte, "and", status.u4, 0xff);
  b.jumpIf(byte, "eq", 0x7f, stopped);
  terminal.giveBack();
  b.compute(byte, "and", byte, 0x7f);
  b.jumpIf(byte, "ne", 0, killed);
  b.compute(code, "shift_right", status.u4, 8);
  b.compute(code, "and", code, 0xff);
  b.syscall("exit_group", [code]);

  b.place(failed);
  b.fail("wait for a signal", undefined, signal);

  b.place(killed);
  l.lazy?.tellFailure();
  if (!isInit) {
    b.syscall("prlimit64", [0, RLIMIT_CORE, b.u8s(0, 0), 0], { expect: "any" });
    b.syscall("rt_sigaction", [byte, b.u8s(0, 0, 0, 0), 0, sigsetSize], { expect: "any" });
    b.syscall("kill", [self, byte], { expect: "any" });
    b.syscall("rt_sigprocmask", [SIG_SETMASK, b.u8s(0), 0, sigsetSize], { expect: "any" });
  }
  b.compute(code, "add", byte, 128);
  b.syscall("exit_group", [code]);

  b.place(stopped);
  if (isInit) {
    b.jump(next);
    return;
  }
  terminal.giveBack();
  b.syscall("kill", [self, SIG.stop], { expect: "any" });
  terminal.give();
  b.syscall("kill", [child, SIG.cont], { expect: "any" });
  b.jump(reap);
}

/** Makes the program's process group the foreground group of the terminal if ours was; undefined if it cannot matter. */
function takeTerminal(l: Lowering, tree: TreePlan, root: Arg): Lent | undefined {
  if (!tree.isRootInCallersSession || tree.isRootInCallersGroup) return undefined;
  const foreground = tree.tasks.find(({ row }) => row.pid === tree.tasks[tree.root]?.row.foregroundPgid)?.task ?? tree.root;
  // Of a pid namespace of the tree's own only the root is known here.
  if (l.own?.hasPids === true && foreground !== tree.root) return undefined;
  const b = l.builder;
  const fd = b.slot("fd of the terminal");
  const own = b.buffer(8);
  const groups = b.buffer(8);
  const ownGroup: Slot = b.slot("own process group");
  const none = b.label("no terminal to give");
  const owns = b.slot("had the terminal");
  b.syscall("openat", [AT.fdcwd, b.string("/dev/tty"), O.rdwr | O.cloexec, 0], { store: fd, orElse: none });
  b.syscall("getpgrp", [], { store: ownGroup });
  b.store4(own, ownGroup);
  b.syscall("ioctl", [fd, TIOCGPGRP, groups], { orElse: none });
  b.jumpIf(groups.u4, "ne", ownGroup, none);
  b.compute(owns, "move", 1);
  b.place(none);
  const set = (group: Arg): void => {
    const skip = b.label("terminal is set");
    b.jumpIf(owns, "eq", 0, skip);
    b.store4(groups, group);
    b.syscall("ioctl", [fd, TIOCSPGRP, groups], { expect: "any" });
    b.place(skip);
  };
  const give = (): void => set(foreground === tree.root ? root : l.taskPid(foreground));
  give();
  return { give, giveBack: () => set(ownGroup) };
}
