// SPDX-License-Identifier: Apache-2.0
/** Small states of an address space. They are read and set by the first thread of its process. */
import { MEMBARRIER_GET_REGISTRATIONS, PR } from "../linux/prctl.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { type Asking, prctlResult } from "./asking.js";
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
      if (thpDisabled === 0) return;
      const hint = "keeping PR_THP_DISABLE_EXCEPT_ADVISED needs Linux 6.18";
      setting.call("prctl", [PR.setThpDisable, 1, thpDisabled & thpExceptAdvised, 0, 0], {
        message: "disable transparent huge pages",
        ...(thpDisabled === 1 ? {} : { hint }),
      });
    },
    show: ({ thpDisabled }) => (thpDisabled === 0 ? undefined : thpDisabled === 1 ? "yes" : "except where advised"),
    check: ({ thpDisabled }) => ([0, 1, 1 | thpExceptAdvised].includes(thpDisabled) ? undefined : "0, 1 or 3"),
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
  memoryMerge: ofMm({
    title: "merging of equal pages",
    fields: ["memoryMerge"],
    read: (ask) => ({ memoryMerge: prctlResult(ask, PR.getMemoryMerge) }),
    // Mappings are made mergeable by it; those that were not are taken out again (lower/vma-plan.ts).
    phase: "memory",
    set: (setting, { memoryMerge }) => {
      if (memoryMerge === 1)
        setting.call("prctl", [PR.setMemoryMerge, 1, 0, 0, 0], { message: "let equal pages be merged", hint: needsKsm });
    },
    show: ({ memoryMerge }) => (memoryMerge === 0 ? undefined : "yes"),
    check: ({ memoryMerge }) => (memoryMerge <= 1 ? undefined : "0 or 1"),
    criu: { code: "memory.merge", facet: "memory", text: "PR_SET_MEMORY_MERGE is not kept" },
  }),
  lockFuture: ofMm({
    title: "locking of future mappings",
    fields: ["lockFuture"],
    read: (ask) => ({ lockFuture: futureLock(ask) }),
    phase: "process",
    set: (setting, { lockFuture }) => {
      if (lockFuture === 0) return;
      const flags = MCL_FUTURE | (lockFuture === 2 ? MCL_ONFAULT : 0);
      setting.call("mlockall", [flags], {
        message: "lock future mappings in memory",
        hint: "raise the limit on locked memory (ulimit -l)",
      });
    },
    show: ({ lockFuture }) => [undefined, "MCL_FUTURE", "MCL_FUTURE, MCL_ONFAULT"][lockFuture],
    check: ({ lockFuture }) => (lockFuture <= 2 ? undefined : "0, 1 or 2"),
    criu: { code: "memory.lock-future", facet: "memory", text: "mlockall(MCL_FUTURE) is not kept" },
  }),
  protectionKeys: ofMm({
    title: "protection keys allocated",
    fields: ["pkeys"],
    read: (ask) => ({ pkeys: allocatedKeys(ask) }),
    // A mapping can be given only a key that is allocated.
    phase: "memory",
    set: (setting, { pkeys }) => {
      if (pkeys === 0) return;
      const hint = "resume on a processor that has protection keys, as the program uses them";
      // The kernel gives the lowest that is free: all up to the last, then those back that were free.
      const last = 31 - Math.clz32(pkeys);
      for (let key = 1; key <= last; key++) setting.call("pkey_alloc", [0, 0], { message: `allocate protection key ${key}`, hint });
      for (let key = 1; key < last; key++)
        if ((pkeys & (1 << key)) === 0) setting.call("pkey_free", [key], { message: `free protection key ${key}` });
    },
    show: ({ pkeys }) => (pkeys === 0 ? undefined : keysIn(pkeys).join(" ")),
    check: ({ pkeys }) => ((pkeys & ~0xfffe) === 0 ? undefined : "keys 1 to 15"),
    criu: { code: "memory.protection-keys", facet: "memory", text: "protection keys are not kept" },
  }),
  localDescriptors: ofMm({
    title: "local descriptor table",
    fields: ["ldt"],
    read: (ask) => ({ ldt: localDescriptors(ask) }),
    phase: "process",
    set: (setting, { ldt }) => {
      const table = Buffer.from(ldt);
      for (let at = 0; at + 8 <= table.length; at += 8) {
        const [low, high] = [table.readUInt32LE(at), table.readUInt32LE(at + 4)];
        if (low === 0 && high === 0) continue;
        const message = `set entry ${at / 8} of the local descriptor table`;
        setting.call("modify_ldt", [LDT_WRITE, userDescriptor(at / 8, low, high), userDescriptorSize], { message });
      }
    },
    show: ({ ldt }) => (ldt.length === 0 ? undefined : `${ldt.length / 8} entries`),
    check: ({ ldt }) => (ldt.length % 8 === 0 && ldt.length <= 8 * 8192 ? undefined : "at most 8192 descriptors of 8 bytes"),
    criu: { code: "memory.ldt", facet: "memory", text: "the local descriptor table is not kept" },
  }),
  mdwe: ofMm({
    title: "MDWE",
    fields: ["mdwe"],
    read: (ask) => ({ mdwe: prctlResult(ask, PR.getMdwe) }),
    // After everything that makes memory executable.
    phase: "process",
    set: (setting, { mdwe }) => {
      if (mdwe === 0) return;
      const message = "refuse to make memory executable (PR_SET_MDWE)";
      setting.call("prctl", [PR.setMdwe, mdwe, 0, 0, 0], { message, hint: "it needs Linux 6.3, PR_MDWE_NO_INHERIT 6.6" });
    },
    show: ({ mdwe }) => (mdwe === 0 ? undefined : (mdwe & 2) === 0 ? "yes" : "yes, not inherited"),
    check: ({ mdwe }) => ([0, 1, 3].includes(mdwe) ? undefined : "0, 1 or 3"),
    criu: { code: "memory.mdwe", facet: "memory", text: "PR_SET_MDWE is not kept" },
  }),
} as const;

/** PR_THP_DISABLE_EXCEPT_ADVISED. */
const thpExceptAdvised = 2;
const needsKsm = "it needs a kernel with KSM, Linux 6.4";
const MCL_FUTURE = 2;
const MCL_ONFAULT = 4;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const pageSize = 4096;

/**
 * Whether new mappings are locked: the kernel tells nobody, so a page is mapped. It counts as locked (VmLck) then, and is
 * there at once unless it waits to be touched. Where the limit on locked memory is reached the mapping itself fails. Where
 * nothing is locked, nothing was mapped since, and the program is left alone: a crimg that dies here leaves a page behind.
 */
function futureLock(ask: Asking): number {
  const lockedKiB = (): number => Number.parseInt(ask.status("VmLck") ?? "0", 10);
  const before = lockedKiB();
  if (before === 0) return 0;
  const page = ask.callBig("mmap", 0, pageSize, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, 0xffff_ffff_ffff_ffffn, 0);
  // EAGAIN: it would be locked, and there is no room for that.
  if (page < 0n && page > -4096n) return page === -11n ? 1 : 0;
  return afterwards(
    () => {
      const out = Buffer.alloc(1);
      const isLocked = lockedKiB() > before;
      const isResident = isLocked && ask.call("mincore", page, pageSize, { out }) === 0 && (out.readUInt8() & 1) === 1;
      return isLocked ? (isResident ? 1 : 2) : 0;
    },
    () => ask.call("munmap", page, pageSize),
  );
}

/** Does `work`, and `undo` whatever comes of it; once more if that fails, as it must not stay. */
function afterwards<Result>(work: () => Result, undo: () => void): Result {
  try {
    return work();
  } finally {
    try {
      undo();
    } catch {
      undo();
    }
  }
}

const maxKeys = 15;

const ENOSPC = -28;

/** The keys that pkey_alloc does not give: all that it gives are given back. */
function allocatedKeys(ask: Asking): number {
  if (!ask.usesProtectionKeys) return 0;
  // Allocating a key changes the thread's rights (PKRU).
  return ask.preservingRegisters(() => {
    let free = 0;
    return afterwards(
      () => {
        for (;;) {
          const key = ask.call("pkey_alloc", 0, 0);
          // Not allowed to ask: under a seccomp filter, say.
          if (free === 0 && key < 0 && key !== ENOSPC) return 0;
          if (key < 0) return ~free & 0xfffe;
          free |= 1 << key;
          // The lowest is free: none was allocated.
          if (free === 1 << 1) return 0;
        }
      },
      () => {
        for (const key of keysIn(free)) {
          ask.call("pkey_free", key);
          free &= ~(1 << key);
        }
      },
    );
  });
}

/** Key numbers in a mask. */
function keysIn(mask: number): number[] {
  return Array.from({ length: maxKeys + 1 }, (_, key) => key).filter((key) => (mask & (1 << key)) !== 0);
}

const LDT_READ = 0;
const LDT_WRITE = 0x11;
const userDescriptorSize = 16;
/** Bytes read at once: what injected calls have room for. */
const ldtChunk = 4096;

/** The local descriptor table up to its last entry in use. */
function localDescriptors(ask: Asking): Uint8Array {
  const out = Buffer.alloc(ldtChunk);
  const length = ask.call("modify_ldt", LDT_READ, { out }, out.length);
  if (length <= 0) return new Uint8Array(0);
  let end = Math.min(length, ldtChunk);
  while (end >= 8 && out.readBigUInt64LE(end - 8) === 0n) end -= 8;
  if (end === ldtChunk)
    throw new CrimgError("dump.ldt", `${ask.name}: a local descriptor table of more than 511 entries`, {}, exitStatus.refused);
  return Buffer.from(out.subarray(0, end));
}

/** struct user_desc (asm/ldt.h) of a descriptor (Intel SDM volume 3, 3.4.5). */
function userDescriptor(index: number, low: number, high: number): Uint8Array {
  const bit = (position: number): number => (high >>> position) & 1;
  const words = Buffer.alloc(userDescriptorSize);
  words.writeUInt32LE(index, 0);
  words.writeUInt32LE((((low >>> 16) & 0xffff) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0, 4);
  words.writeUInt32LE((low & 0xffff) | (high & 0xf_0000), 8);
  const type = (high >>> 8) & 0xf;
  const contents = (type >> 2) & 3;
  const readOnly = (type & 2) === 0 ? 1 : 0;
  const notPresent = bit(15) === 0 ? 1 : 0;
  // seg_32bit, contents, read_exec_only, limit_in_pages, seg_not_present, useable, lm
  words.writeUInt32LE(
    bit(22) | (contents << 1) | (readOnly << 3) | (bit(23) << 4) | (notPresent << 5) | (bit(20) << 6) | (bit(21) << 7),
    12,
  );
  return words;
}
