// SPDX-License-Identifier: Apache-2.0
/**
 * Controlling terminals (credentials(7), ioctl_tty(2)): only a session leader without one can take a terminal that no
 * other session has. One of the tree's own is free to be taken. That of the caller is given up first by the process
 * that the caller started, where that leads the caller's session; in the foreground only.
 */
import type { TaskRow } from "../gen/tables.js";
import { AT, O, SIG, sigsetSize } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Slot } from "./operands.js";
import type { TreeLowering } from "./task.js";
import type { TaskPlan, TreePlan } from "./tree-plan.js";

const TIOCSCTTY = 0x540e;
const TIOCSPGRP = 0x5410;
const TIOCNOTTY = 0x5422;
const SIG_IGN = 1;

/** The session of the tree whose controlling terminal is the caller's; undefined if there is none. */
function outsideSession(l: Lowering): number | undefined {
  const { tasks, terminals } = l.checkpoint.tables;
  const own = new Set(terminals.filter(({ kind }) => kind === "pty" || kind === "device").map(({ session }) => session));
  return tasks.find((row) => row.sid === row.pid && row.controlsTerminal !== 0 && row.state !== "zombie" && !own.has(row.sid))?.sid;
}

/** Ops of the first process: gives the caller's terminal up if the tree has a session for it. Before anything is made. */
export function releaseCallersTerminal(l: Lowering, isDetached: Slot | undefined): void {
  if (outsideSession(l) === undefined) return;
  const b = l.builder;
  const fd = l.callersTerminal;
  const sid = b.slot("session of the caller");
  const pid = b.slot("own process id");
  const kept = b.label("the caller keeps its terminal");
  const none = b.label("there is no terminal");
  if (isDetached !== undefined) b.jumpIf(isDetached, "ne", 0, kept);
  b.syscall("getsid", [0], { store: sid });
  b.syscall("getpid", [], { store: pid });
  b.jumpIf(sid, "ne", pid, kept);
  b.syscall("openat", [AT.fdcwd, b.string("/dev/tty"), O.rdwr | O.cloexec, 0], { store: fd, orElse: none });
  l.keepHigh(fd);
  b.syscall("ioctl", [fd, TIOCNOTTY, 0], { message: "give up the controlling terminal" });
  // Its foreground group, which this process is of, gets SIGHUP and SIGCONT for that; setting SIG_IGN forgets them.
  for (const signal of [SIG.hup, SIG.cont]) {
    b.syscall("rt_sigaction", [signal, b.u8s(SIG_IGN, 0, 0, 0), 0, sigsetSize]);
    b.syscall("rt_sigaction", [signal, b.u8s(0, 0, 0, 0), 0, sigsetSize]);
  }
  b.jump(kept);
  b.place(none);
  b.compute(fd, "move", 0);
  b.place(kept);
}

/** Ops of a task that has just become leader of its session: takes its controlling terminal; children inherit it. */
export function takeControllingTerminal(t: TreeLowering, { row }: TaskPlan): void {
  const { l } = t;
  const b = l.builder;
  if (row.controlsTerminal === 0) return;
  const own = t.descriptors.controllingTerminal(row.sid);
  if (own !== undefined) {
    b.syscall("ioctl", [own, TIOCSCTTY, 0], { message: "take the controlling terminal" });
  } else if (row.sid === outsideSession(l)) {
    const none = b.label("there is no terminal to take");
    b.jumpIf(l.callersTerminal, "eq", 0, none);
    b.syscall("ioctl", [l.callersTerminal, TIOCSCTTY, 0], { message: "take the caller's terminal" });
    b.place(none);
  }
}

/** Ops of a session leader once every process is in its group: makes the foreground group what it was. */
export function setForegroundGroup(l: Lowering, tree: TreePlan, { row, isSessionLeader }: TaskPlan): void {
  const b = l.builder;
  if (!isSessionLeader || row.controlsTerminal === 0 || row.foregroundPgid <= 0) return;
  const member = memberOf(tree, row);
  if (member === undefined) return;
  const fd = b.slot("fd of the controlling terminal");
  const pgid = b.slot("foreground group");
  const none = b.label("there is no controlling terminal");
  const group = b.buffer(4);
  b.syscall("openat", [AT.fdcwd, b.string("/dev/tty"), O.rdwr | O.cloexec | O.nonblock, 0], {
    store: fd,
    expect: "any",
  });
  b.jumpIf(fd, "lt", 0, none);
  b.syscall("getpgid", [l.taskPid(member)], { store: pgid });
  b.store4(group, pgid);
  b.syscall("ioctl", [fd, TIOCSPGRP, group], { message: "set the foreground group of the terminal" });
  b.syscall("close", [fd]);
  b.place(none);
}

/** A process of the leader's foreground group. */
function memberOf(tree: TreePlan, { sid, foregroundPgid }: TaskRow): number | undefined {
  return tree.tasks.find(({ row }) => row.sid === sid && row.pgid === foregroundPgid)?.task;
}
