// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const memory: Family = {
  program: "memory",
  title: "Memory",
  probes: [
    { name: "mdwe", state: "MDWE (PR_SET_MDWE)", is: "kept", isAlone: true },
    { name: "mseal", state: "sealed mapping (mseal)", is: "kept" },
    { name: "mseal-file", state: "sealed private mapping of a file", is: "kept" },
    { name: "merge", state: "merging of equal pages (PR_SET_MEMORY_MERGE)", is: "kept", isAlone: true },
    { name: "thp", state: "huge pages disabled (PR_SET_THP_DISABLE)", is: "kept", isAlone: true },
    { name: "thp-except", state: "huge pages disabled except where advised", is: "kept" },
    { name: "future", state: "locking of future mappings (mlockall MCL_FUTURE)", is: "kept", isAlone: true },
    { name: "onfault", state: "locking of future mappings when they are touched (MCL_ONFAULT)", is: "kept", isAlone: true },
    { name: "policy", state: "memory policy of a process (set_mempolicy)", is: "kept", isAlone: true },
    { name: "thread-policy", state: "memory policy of a thread", is: "kept" },
    { name: "bound", state: "memory policy of mappings (mbind)", is: "kept" },
    { name: "shared", state: "memory policy of shared memory", is: "kept" },
    { name: "both", state: "memory policy of a mapping under another of its process", is: "kept", isAlone: true },
    { name: "three", state: "a descriptor on anonymous shared memory, and a private mapping of it", is: "kept" },
    { name: "pkey", state: "protection keys: of mappings, allocated, and their rights (PKRU)", is: "kept", isAlone: true },
  ],
};
