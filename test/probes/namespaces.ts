// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const namespaces: Family = {
  program: "namespaces",
  title: "Clocks and namespaces",
  probes: [
    { name: "monotonic", state: "CLOCK_MONOTONIC, which goes on where it was", is: "kept" },
    { name: "boottime", state: "CLOCK_BOOTTIME, which goes on where it was", is: "kept" },
    { name: "timer", state: "a timer for a time on CLOCK_MONOTONIC", is: "kept" },
    { name: "user", state: "a user namespace", is: { refused: /lives in another user namespace/, ignore: "user-namespace" } },
    { name: "mount", state: "a mount namespace", is: { refused: /lives in another mount namespace/ } },
    { name: "network", state: "a network namespace", is: { refused: /lives in another network namespace/ } },
    { name: "ipc", state: "an ipc namespace", is: { refused: /lives in another ipc namespace/ } },
    { name: "uts", state: "a uts namespace", is: { refused: /lives in another uts namespace/, ignore: "uts-namespace" } },
    { name: "cgroup", state: "a cgroup namespace", is: { refused: /lives in another cgroup namespace/, ignore: "cgroup-namespace" } },
    { name: "pid", state: "a pid namespace for children", is: { refused: /another pid namespace for its children/ } },
    { name: "time", state: "a time namespace for children", is: { refused: /another time namespace for its children/ } },
  ],
};
