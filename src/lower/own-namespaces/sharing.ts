// SPDX-License-Identifier: Apache-2.0
/**
 * Who shares events with whom (mount_namespaces(7)). Every mount is private at first. The first member of a peer group, the
 * one that shows the most of its filesystem, makes it; the others are let in.
 */
import { mountSuperFlagsBits } from "../../gen/tables.js";
import type { Lowering } from "../lowering.js";
import type { Slot } from "../operands.js";
import { outOf, withoutDeleted } from "../../model/mount-paths.js";
import { type Indexed, MS } from "./mount-ops.js";
import type { MountFds } from "./own-root.js";

const MOVE_MOUNT_SET_GROUP = 0x100;
const [MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH] = [0x4, 0x40];

/** Ops of a process whose current directory is /proc/self/fd. */
export function shareMounts(l: Lowering, rows: readonly Indexed[], fds: MountFds): void {
  const b = l.builder;
  const groups = new Map<number, Indexed[]>();
  for (const one of rows) {
    if (one.row.peers === 0) continue;
    const members = groups.get(one.row.peers);
    if (members === undefined) groups.set(one.row.peers, [one]);
    else members.push(one);
  }
  const rootOf = ({ row }: Indexed): string => withoutDeleted(row.root);
  const leaders = new Map<number, Indexed>();
  for (const [group, members] of groups) {
    const [leader] = [...members].sort((one, two) => rootOf(one).length - rootOf(two).length);
    if (leader !== undefined) leaders.set(group, leader);
  }
  const set = ({ index, row }: Indexed, how: number): void => {
    const fd = fds.get(index);
    if (fd !== undefined) setPropagation(l, fd, how, row.point);
  };
  /** Lets a private mount into the group of another of the same filesystem, if that shows as much of it. */
  const join = (one: Indexed, group: number): boolean => {
    const leader = leaders.get(group);
    const [from, to] = [leader && fds.get(leader.index), fds.get(one.index)];
    if (leader === undefined || from === undefined || to === undefined || outOf(rootOf(one), rootOf(leader)) === undefined) return false;
    const flags = MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    b.syscall("move_mount", [from, b.string(""), to, b.string(""), flags], {
      message: `let the mount at ${one.row.point} share with the one at ${leader.row.point}`,
      hint: "that takes Linux 5.15",
    });
    return true;
  };
  const follow = (one: Indexed): void => {
    if (one.row.master !== 0 && join(one, one.row.master)) set(one, MS.slave);
  };
  const made = new Set<number>();
  const make = (group: number): void => {
    const [leader, members] = [leaders.get(group), groups.get(group)];
    if (made.has(group) || leader === undefined || members === undefined) return;
    made.add(group);
    make(leader.row.master);
    follow(leader);
    set(leader, MS.shared);
    for (const member of members) {
      if (member === leader || join(member, group)) continue;
      // Parts of a filesystem that nobody of the group shows as a whole.
      follow(member);
      set(member, MS.shared);
    }
  };
  for (const group of groups.keys()) make(group);
  for (const one of rows) if (one.row.peers === 0) follow(one);
  for (const one of rows) if (one.row.superFlags >= mountSuperFlagsBits.unbindable) set(one, MS.unbindable);
}

function setPropagation(l: Lowering, fd: Slot, how: number, point: string): void {
  const b = l.builder;
  const name = b.buffer(16);
  b.format(name, "", fd);
  b.syscall("mount", [0, name, 0, how, 0], { message: `set the propagation of ${point}` });
}
