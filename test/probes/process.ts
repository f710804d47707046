// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const processes: Family = {
  program: "process",
  title: "Processes and threads",
  probes: [
    { name: "umask", state: "umask", is: "kept" },
    { name: "personality", state: "personality", is: "kept" },
    { name: "loginuid", state: "login uid (/proc/self/loginuid)", is: "kept" },
    { name: "oom", state: "oom_score_adj", is: "kept" },
    { name: "subreaper", state: "child subreaper (PR_SET_CHILD_SUBREAPER)", is: "kept" },
    { name: "coredump", state: "coredump_filter", is: "kept" },
    { name: "dumpable", state: "dumpable (PR_SET_DUMPABLE)", is: "kept", isAlone: true },
    { name: "membarrier", state: "membarrier registrations", is: "kept" },
    { name: "nnp", state: "no_new_privs", is: "kept" },
    { name: "pdeath", state: "parent death signal (PR_SET_PDEATHSIG)", is: "kept" },
    { name: "slack", state: "timer slack of a thread", is: "kept" },
    { name: "nice", state: "nice value of a thread", is: "kept" },
    { name: "ioprio", state: "I/O priority of a thread", is: "kept" },
    { name: "name", state: "name of a thread (PR_SET_NAME)", is: "kept" },
    { name: "thread-fs", state: "current directory, root and umask of a thread (unshare of CLONE_FS)", is: "kept" },
    { name: "orphan", state: "an orphan of a subreaper, in a session led from elsewhere in the tree", is: "kept", isAlone: true },
    { name: "outside", state: "a pidfd of a process outside the tree that is still there", is: "kept" },
    { name: "gone", state: "working directory and open file in /proc of a process that is gone", is: "kept", isAlone: true },
    {
      name: "cpu-time",
      state: "CPU time used (process and thread clocks, getrusage, what counts against RLIMIT_CPU)",
      is: { cannot: "the kernel lets nobody set it: it starts at 0; `crimg show IMAGE state` says so" },
    },
  ],
};
