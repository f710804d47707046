// SPDX-License-Identifier: Apache-2.0
/** Descriptors, here and of other processes: pidfd, kcmp, fcntl, pipes, memfd, ioctl. */
import { openFlags } from "../linux/open-flags.js";
import { call, cString, tryCall } from "./sys.js";
import type { RawArgument } from "./addon.js";

/** pidfd_open. Returns a descriptor or −errno. */
export function tryPidfdOpen(pid: number): number {
  return tryCall("pidfd_open", pid, 0);
}

/** pidfd_getfd: a copy (close-on-exec) of descriptor `fd` of the process. Returns it or −errno. */
export function tryPidfdGetfd(pidfd: number, fd: number): number {
  return tryCall("pidfd_getfd", pidfd, fd, 0);
}

export const kcmpType = { FILE: 0, VM: 1, FILES: 2, FS: 3, SIGHAND: 4, IO: 5, SYSVSEM: 6, EPOLL_TFD: 7 } as const;

/**
 * kcmp: 0 equal, 1 less, 2 greater, 3 unordered, or −errno. For FILE the last two arguments are descriptors; for
 * EPOLL_TFD the last is the address of struct kcmp_epoll_slot.
 */
export function tryKcmp(pid1: number, pid2: number, type: number, first: RawArgument = 0, second: RawArgument = 0): number {
  return tryCall("kcmp", pid1, pid2, type, first, second);
}

/** fcntl commands. */
export const fcntlCommand = {
  DUPFD: 0,
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  GETLK: 5,
  GETOWN: 9,
  SETSIG: 10,
  GETSIG: 11,
  GETOWN_EX: 16,
  GETOWNER_UIDS: 17,
  GETLEASE: 1025,
  DUPFD_CLOEXEC: 1030,
  SETPIPE_SZ: 1031,
  GETPIPE_SZ: 1032,
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
} as const;

/** fcntl. Returns its result or −errno. */
export function tryFcntl(fd: number, command: number, argument: RawArgument = 0): number {
  return tryCall("fcntl", fd, command, argument);
}

/** ioctl. Returns its result or −errno. */
export function tryIoctl(fd: number, command: number, argument: RawArgument = 0): number {
  return tryCall("ioctl", fd, command, argument);
}

/** tee: duplicates pipe bytes without consuming them. Returns the bytes, or −errno. */
export function tryTee(from: number, to: number, length: number, flags = 0): number {
  return tryCall("tee", from, to, length, flags);
}

/** splice between descriptors at their offsets. Returns the bytes, or −errno. */
export function trySplice(from: number, to: number, length: number, flags = 0): number {
  return tryCall("splice", from, null, to, null, length, flags);
}

/** SPLICE_F_NONBLOCK for tee and splice. */
export const SPLICE_F_NONBLOCK = 2;

/** pipe2: [read end, write end], close-on-exec besides `flags`. */
export function pipe2(flags = 0): readonly [number, number] {
  const fds = new Int32Array(2);
  call("pipe2", fds, flags | openFlags.CLOEXEC);
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/** memfd_create, close-on-exec. */
export function memfdCreate(name: string, flags = 0): number {
  return call("memfd_create", cString(name), flags | 1);
}
