// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const huge: Family = {
  program: "huge",
  title: "Memory of huge pages (where vm.nr_hugepages has some)",
  probes: [
    { name: "private", state: "private memory (MAP_HUGETLB)", is: "kept" },
    { name: "shared", state: "shared memory (MAP_HUGETLB, MAP_SHARED)", is: "kept" },
    { name: "memfd", state: "memfd (MFD_HUGETLB)", is: "kept" },
    { name: "segment", state: "System V shared memory (SHM_HUGETLB)", is: "kept" },
  ],
};
