// SPDX-License-Identifier: Apache-2.0
/** States that the kernel shows to nobody, so that no probe can tell them and no dump can refuse them. */
export const unseen: readonly { readonly state: string; readonly why: string }[] = [
  { state: "SO_BUSY_POLL_BUDGET", why: "it can be set, and no call reads it" },
  { state: "the tracer that a program allowed itself (PR_SET_PTRACER, under Yama)", why: "it can be set, and no call reads it" },
  { state: "TCP_MD5SIG of a socket that is neither listening nor connected", why: "sock_diag does not list such sockets" },
  {
    state: "what shares out connections among SO_REUSEPORT sockets (SO_ATTACH_REUSEPORT_CBPF)",
    why: "it can be set, and no call reads it",
  },
  {
    state: "whether the stop or the continuation of a child has been reported to its parent (WUNTRACED, WCONTINUED)",
    why: "waitid shows nothing of a child that is traced; the stop of a stopped child is reported once more",
  },
  {
    state: "mlockall(MCL_FUTURE) of a program that has locked nothing yet",
    why: "only a new mapping would show it, and crimg makes one only in programs that lock memory",
  },
  {
    state: "a protection key that was allocated without rights and given to no mapping",
    why: "it leaves no trace but in the kernel's own list",
  },
];
