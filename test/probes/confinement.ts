// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const confinement: Family = {
  program: "confinement",
  title: "Filters and file system events",
  probes: [
    { name: "filter", state: "seccomp filters of a process", is: "kept" },
    { name: "listener", state: "seccomp filter with a listener", is: { refused: /seccomp/ } },
    { name: "marks", state: "fanotify group with marks on a file and on a mount", is: "kept" },
    {
      name: "permission",
      state: "fanotify group that is asked for permission",
      is: { refused: /a fanotify group that is asked for permission/ },
    },
  ],
};
