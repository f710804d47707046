// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const threads: Family = {
  program: "threads",
  title: "Clocks, keyrings and namespaces of threads",
  probes: [
    { name: "go", state: "timer on the CPU clock of its own thread (Go's profiler)", is: "kept" },
    { name: "quiet", state: "timer on the CPU clock of a thread, which tells no thread", is: "kept" },
    { name: "named", state: "timer on the CPU clock of another thread (pthread_getcpuclockid)", is: "kept" },
    { name: "main", state: "timer on the CPU clock of the first thread", is: "kept" },
    {
      name: "namespace",
      state: "namespaces of a thread",
      is: { refused: /thread \d+ of process \d+ \(threads\) has its own uts namespace/ },
    },
    {
      name: "children",
      state: "pid namespace for children to come (unshare of CLONE_NEWPID)",
      is: { refused: /has another pid namespace for its children than for itself/ },
    },
    { name: "thread-keyring", state: "keyring of a thread", is: { refused: /a keyring with probe/, ignore: "keyring" } },
    { name: "process-keyring", state: "keyring of a process", is: { refused: /a keyring with probe/, ignore: "keyring" } },
    {
      name: "session-keyring",
      state: "keyring of a session, with keys",
      is: { refused: /a session keyring with probe/, ignore: "keyring" },
    },
    { name: "empty-keyring", state: "keyring of a session without keys: becomes that of the resume", is: "kept", isAlone: true },
    { name: "undo", state: "System V semaphore operations to undo in a process with threads", is: "kept", isAlone: true },
    { name: "semaphore", state: "System V semaphore without SEM_UNDO, in a process without threads", is: "kept", isAlone: true },
    { name: "dispatch", state: "syscall user dispatch whose selector lets calls through", is: "kept" },
    { name: "dispatching", state: "syscall user dispatch that takes every call just now", is: { refused: /syscall user dispatch is on/ } },
  ],
};
