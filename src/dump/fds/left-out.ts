// SPDX-License-Identifier: Apache-2.0
/**
 * Descriptors that `--ignore` leaves out: of which class each refusal is, and what leaving it out does to the program.
 * A descriptor that is left out is closed in the resumed program.
 */
import type { IgnorableClass } from "../refusal.js";

/** Refusals that have a narrower class than `descriptor`. */
const classes: ReadonlyMap<string, IgnorableClass> = new Map<string, IgnorableClass>([
  ["outside_pipe", "pipe"],
  ["pipe_content", "pipe"],
  ["outside_socket", "unix-socket"],
  ["socket_queue", "unix-socket"],
  ["scm_rights", "unix-socket"],
  ["scm_pidfd", "unix-socket"],
  ["foreign_netns", "unix-socket"],
  ["socket_name", "unix-socket"],
  ["socket_family", "socket"],
  ["socket_protocol", "socket"],
  ["socket_bpf", "socket"],
  ["socket", "socket"],
  ["tcp_connection", "tcp"],
  ["tcp_info", "tcp"],
  ["tcp_privilege", "tcp"],
  ["tcp_repair", "tcp"],
  ["tcp_multipath", "tcp"],
  ["tcp_ulp", "tcp"],
  ["tcp_urgent", "tcp"],
  ["tcp_queue", "tcp"],
  ["udp_cork", "udp"],
  ["udp_queue", "udp"],
  ["raw_queue", "socket"],
  ["netlink_queue", "socket"],
  ["socket_oob", "unix-socket"],
  ["terminal", "terminal"],
  ["pty_master", "terminal"],
]);

/** Without these the program surely breaks: they are left out only with --force-loss as well. */
const vital: ReadonlyMap<string, string> = new Map([
  ["pty_master", "programs on that terminal get SIGHUP and end-of-file as soon as it is gone"],
  ["io_uring", "a program that waits at its ring waits for ever"],
  ["io_uring_busy", "a program that waits at its ring waits for ever"],
  ["userfaultfd", "page faults in the registered memory are no longer answered"],
]);

/** The class that leaves a refused descriptor out. */
export function classOfDescriptor(what: string): IgnorableClass {
  return classes.get(what) ?? "descriptor";
}

/** True where the program surely breaks without it. */
export function isVital(what: string): boolean {
  return vital.has(what);
}

/** The hint of a refusal: the way that keeps the descriptor, if there is one, and the one that gives it up. */
export function waysOn(what: string, keep?: string): string {
  const harm = vital.get(what);
  const give =
    harm === undefined
      ? `--ignore ${classOfDescriptor(what)} leaves it out (closed after the resume) and records the loss.`
      : `Without it ${harm}; --ignore ${classOfDescriptor(what)} --force-loss leaves it out all the same.`;
  return keep === undefined ? give : `${keep} ${give}`;
}
