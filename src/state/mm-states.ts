// SPDX-License-Identifier: Apache-2.0
/** Small states of an address space. They are read and set by the first thread of its process. */
import { MEMBARRIER_GET_REGISTRATIONS, PR } from "../linux/prctl.js";
import { prctlResult } from "./asking.js";
import { anyValue, ofMm, shownElsewhere } from "./state.js";

/** coredump_filter is known (a mask of 0 is possible). */
const filterIsKnown = 0x8000_0000;
const filterBits = 0x1ff;
/** What the kernel gives every process at first. */
const usualFilter = 0x33;
/** membarrier(2): each registration is the bit of its command; those that register are these. */
const registerCommands = [1 << 2, 1 << 4, 1 << 6, 1 << 8];

export const mmStates = {
  dumpable: ofMm({
    title: "dumpable",
    fields: ["dumpable"],
    read: (ask) => ({ dumpable: prctlResult(ask, PR.getDumpable) }),
    // A task that is not dumpable cannot be traced by an ordinary user, so it comes after the first process has it.
    phase: "last",
    set: (setting, { dumpable }) => {
      // A change of credentials makes it the value of fs.suid_dumpable, so 1 has to be set as well; 2 cannot be set.
      if (dumpable > 1) return;
      setting.call("prctl", [PR.setDumpable, dumpable, 0, 0, 0], { message: `set dumpable to ${dumpable}` });
    },
    show: ({ dumpable }) => (dumpable === 1 ? undefined : String(dumpable)),
    check: ({ dumpable }) => (dumpable <= 2 ? undefined : "0, 1 or 2"),
    criu: "kept",
  }),
  coredumpFilter: ofMm({
    title: "coredump_filter",
    fields: ["coredumpFilter"],
    read: (ask) => {
      const bytes = ask.file("coredump_filter");
      const text = bytes === undefined ? "" : Buffer.from(bytes).toString("latin1");
      return { coredumpFilter: text === "" ? 0 : (Number.parseInt(text, 16) | filterIsKnown) >>> 0 };
    },
    phase: "proc",
    set: (setting, { coredumpFilter }) => {
      if (coredumpFilter !== 0) setting.file("coredump_filter", `0x${(coredumpFilter & ~filterIsKnown).toString(16)}`);
    },
    show: ({ coredumpFilter }) =>
      coredumpFilter === 0 || (coredumpFilter & filterBits) === usualFilter ? undefined : `0x${(coredumpFilter & filterBits).toString(16)}`,
    check: anyValue,
    criu: { code: "memory.coredump-filter", facet: "memory", text: "/proc/PID/coredump_filter is not kept" },
  }),
  hugePages: ofMm({
    title: "huge pages disabled",
    fields: ["thpDisabled"],
    read: (ask) => ({ thpDisabled: prctlResult(ask, PR.getThpDisable) }),
    phase: "process",
    set: (setting, { thpDisabled }) => {
      if (thpDisabled !== 0) setting.call("prctl", [PR.setThpDisable, 1, 0, 0, 0], { message: "disable transparent huge pages" });
    },
    show: ({ thpDisabled }) => (thpDisabled === 0 ? undefined : "yes"),
    check: anyValue,
    criu: "kept",
  }),
  membarrier: ofMm({
    title: "membarrier registrations",
    fields: ["membarrier"],
    read: (ask) => ({ membarrier: Math.max(ask.call("membarrier", MEMBARRIER_GET_REGISTRATIONS, 0, 0), 0) }),
    phase: "process",
    set: (setting, { membarrier }) => {
      for (const command of registerCommands) {
        if ((membarrier & command) === 0) continue;
        setting.call("membarrier", [command, 0, 0], { message: `register membarrier command ${command}` });
      }
    },
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
} as const;
