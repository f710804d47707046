// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const namespaces: Family = {
  program: "namespaces",
  title: "Clocks and namespaces",
  probes: [
    { name: "monotonic", state: "CLOCK_MONOTONIC, which goes on where it was", is: "kept" },
    { name: "boottime", state: "CLOCK_BOOTTIME, which goes on where it was", is: "kept" },
    { name: "timer", state: "a timer for a time on CLOCK_MONOTONIC", is: "kept" },
    { name: "user", state: "a user namespace without a map of ids", is: { refused: /user namespace/, ignore: "user-namespace" } },
    { name: "mount", state: "a mount namespace that the whole tree lives in", is: "kept" },
    { name: "network", state: "a network namespace that the whole tree lives in, with its loopback device", is: "kept" },
    { name: "ipc", state: "an ipc namespace that the whole tree lives in, without anything in it", is: "kept" },
    { name: "uts", state: "a uts namespace that the whole tree lives in", is: "kept" },
    { name: "cgroup", state: "a cgroup namespace that the whole tree lives in", is: "kept" },
    { name: "pid", state: "a pid namespace for children", is: { refused: /another pid namespace for its children/ } },
    { name: "time", state: "a time namespace for children", is: { refused: /another time namespace for its children/ } },
  ],
  notes: [
    "Namespaces that a resume of crimg's made itself are no hindrance: they are made again.",
    "Waits with a rest go on with it: after `--leave-running` all of them; after a resume nanosleep, poll, ppoll, select, epoll_wait " +
      "and whatever waits for a time on a clock. A resume makes futex waits with a relative timeout, sigtimedwait, semtimedop and " +
      "receives with SO_RCVTIMEO anew, with their whole timeout: the kernel tells nobody what was left, and no register holds it. How " +
      "long a thread has waited is read off /proc/PID/sched; a thread that woke in vain meanwhile, a hypervisor that took the " +
      "processor, and a kernel without that file let a wait last longer, never shorter.",
    "Where no time namespace can be made, the clocks are those of the machine, and a line at the resume says so.",
  ],
};
