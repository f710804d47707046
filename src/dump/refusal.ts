// SPDX-License-Identifier: Apache-2.0
/** Refusals: what cannot be dumped is named before anything is written, and the target runs on. */
import { CrimgError, exitStatus, type CrimgErrorFields } from "../errors/crimg-error.js";

/** An error `dump.<what>` that ends a dump with the exit status for refusals. */
export function refusal(what: string, text: string, fields: CrimgErrorFields = {}): CrimgError {
  return new CrimgError(`dump.${what}`, text, fields, exitStatus.refused);
}

/** Classes that `--ignore` accepts: what is left out is then recorded as a loss. */
export const ignorableClasses = {
  cgroup: "membership in another control group than crimg's; the resumed tree is in that of whoever resumes it",
  seccomp: "seccomp: strict mode and filters, also those with a listener, which are refused otherwise",
  dnotify: "notification about a directory (F_NOTIFY), of which the kernel tells nobody what it is about",
  locks: "file locks and leases",
  keyring: "keyrings of a session, a process or a thread that hold keys",
  semaphores: "System V semaphore sets that may not be read",
  messages: "System V message queues that may not be read",
  "semaphore-undo": "what is taken back of operations on System V semaphores at the end (SEM_UNDO)",
  "thread-clock": "POSIX timers on the CPU clock of a thread that cannot be told",
  "user-namespace": "a user namespace, and the capabilities in it; the resumed tree is the user that it was outside",
  "uts-namespace": "a uts namespace; the resumed tree sees the host name of whoever resumes it",
  "network-device": "devices of a network namespace other than lo, their addresses and routes",
  "cgroup-namespace": "a cgroup namespace; the resumed tree sees the control groups as whoever resumes it",
  descriptor: "any descriptor that cannot be kept; it is closed in the resumed program",
  pipe: "pipes whose other end is outside the tree, or whose content cannot be read",
  "unix-socket": "unix sockets whose peer is outside the tree, or whose queue cannot be read",
  tcp: "TCP connections",
  udp: "UDP sockets with datagrams or a corked one",
  socket: "sockets of other families and protocols, such as AF_VSOCK and AF_PACKET",
  terminal: "terminals that are no standard stream of the tree",
} as const;

export type IgnorableClass = keyof typeof ignorableClasses;

/** What `--ignore` was given: classes, and single descriptor numbers (`fd:251`). */
export interface Ignored {
  readonly classes: ReadonlySet<IgnorableClass>;
  /** Descriptor numbers that are left out in every process. */
  readonly fds: ReadonlySet<number>;
  /** Also what the program surely breaks without (--force-loss). */
  readonly isForced: boolean;
}

export const nothingIgnored: Ignored = { classes: new Set(), fds: new Set(), isForced: false };

/**
 * The words of `--ignore`.
 * @throws CrimgError `usage.ignore` for a class that does not exist
 */
export function parseIgnored(words: readonly string[], isForced: boolean): Ignored {
  const classes = new Set<IgnorableClass>();
  const fds = new Set<number>();
  for (const word of words) {
    const fd = /^fd:(\d{1,10})$/.exec(word)?.[1];
    if (fd !== undefined) fds.add(Number(fd));
    else if (Object.hasOwn(ignorableClasses, word)) classes.add(word as IgnorableClass);
    else {
      throw new CrimgError("usage.ignore", `--ignore ${word}: there is no such class`, {
        expected: [...Object.keys(ignorableClasses), "fd:NUMBER"].join(", "),
      });
    }
  }
  return { classes, fds, isForced };
}
