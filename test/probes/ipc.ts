// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const ipc: Family = {
  program: "ipc",
  title: "System V and POSIX IPC",
  probes: [
    { name: "keyed", state: "System V shared memory with a key", is: "kept" },
    { name: "removed", state: "System V shared memory that is removed and attached still", is: "kept" },
    { name: "readonly", state: "System V shared memory attached to read only (SHM_RDONLY)", is: "kept" },
    { name: "detached", state: "System V shared memory that nobody has attached", is: "kept" },
    { name: "semaphores", state: "System V semaphores", is: "kept" },
    { name: "undo", state: "System V semaphore operations to undo (SEM_UNDO)", is: "kept" },
    { name: "queue", state: "System V message queue with messages", is: "kept" },
    { name: "named", state: "POSIX message queue with messages", is: "kept" },
    { name: "unlinked", state: "POSIX message queue without a name", is: "kept" },
    { name: "told", state: "notification of a POSIX message queue (mq_notify), but for the value with its signal", is: "kept" },
  ],
};
