// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const security: Family = {
  program: "security",
  title: "Controls of threads",
  probes: [
    { name: "tsc", state: "faulting of rdtsc (PR_SET_TSC)", is: "kept" },
    { name: "mce", state: "what is killed at memory failures (PR_MCE_KILL)", is: "kept" },
    { name: "cpuid", state: "faulting of cpuid (ARCH_SET_CPUID)", is: "kept" },
    { name: "flusher", state: "I/O flusher (PR_SET_IO_FLUSHER)", is: "kept" },
    { name: "bypass", state: "speculation control: store bypass", is: "kept" },
    { name: "branch", state: "speculation control: indirect branches", is: "kept" },
    { name: "l1d", state: "speculation control: flush of the L1D cache", is: "kept" },
    { name: "slice", state: "EEVDF slice (sched_setattr)", is: "kept" },
    { name: "affinity", state: "CPU affinity of a thread", is: "kept" },
    { name: "ldt", state: "local descriptor table (modify_ldt)", is: "kept" },
    { name: "autogroup", state: "nice value of a session's autogroup", is: "kept" },
    { name: "zombie", state: "name of a zombie", is: "kept" },
  ],
};
