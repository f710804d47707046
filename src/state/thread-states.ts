// SPDX-License-Identifier: Apache-2.0
/** Small states of a thread. Registers, signal mask and credentials are more than a row and have files of their own. */
import { decodeText } from "../bytes/text.js";
import { schedPolicyNames, schedPolicyValues, type ThreadRow } from "../gen/tables.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { ARCH, PR } from "../linux/prctl.js";
import { type Asking, prctlResult, prctlStored } from "./asking.js";
import { memoryPolicyAt, memoryPolicyText, needsNodes, nodesArguments, nodesCheck } from "./memory-policy.js";
import { type Setting, threadId, words8 } from "./setting.js";
import { anyValue, ofThread, shownElsewhere } from "./state.js";

const SS_ONSTACK = 1;
const SS_DISABLE = 2;
const SS_AUTODISARM = 0x8000_0000;
const PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
const PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211;
const dispatchConfigSize = 32;
const IOPRIO_WHO_PROCESS = 1;
const ioprioClassShift = 13;
/** The kernel's default, 50 microseconds. */
const defaultSlackNs = 50_000n;
const EPERM = 1;
const SCHED_DEADLINE = 6;
/** SCHED_OTHER, BATCH and IDLE. */
const fairPolicies: ReadonlySet<number> = new Set([0, 3, 5]);
/** struct sched_attr without utilization clamps. */
const schedAttrSize = 48;

export const threadStates = {
  comm: ofThread({
    title: "name",
    fields: ["comm"],
    read: (ask) => ({ comm: decodeText(ask.file("comm") ?? new Uint8Array(0)) }),
    phase: "thread",
    set: (setting, { comm }) => setting.call("prctl", [PR.setName, comm, 0, 0, 0], { message: `take the name ${comm}` }),
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
  clearChildTid: ofThread({
    title: "tid address",
    fields: ["clearChildTid"],
    read: (ask) => ({ clearChildTid: prctlStored(ask, PR.getTidAddress) }),
    phase: "thread",
    set: (setting, { clearChildTid }) => {
      if (clearChildTid !== 0n) setting.call("set_tid_address", [clearChildTid]);
    },
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
  robustList: ofThread({
    title: "robust futex list",
    fields: ["robustListHead", "robustListLen"],
    read: (ask) => {
      const out = Buffer.alloc(16);
      if (ask.outside("get_robust_list", ask.tid, out.subarray(0, 8), out.subarray(8)) < 0)
        return { robustListHead: 0n, robustListLen: 0n };
      const robustListHead = out.readBigUInt64LE(0);
      return { robustListHead, robustListLen: robustListHead === 0n ? 0n : out.readBigUInt64LE(8) };
    },
    phase: "thread",
    set: (setting, { robustListHead, robustListLen }) => {
      if (robustListHead === 0n) return;
      setting.call("set_robust_list", [robustListHead, robustListLen || 24n], { message: "set the robust futex list" });
    },
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
  rseq: ofThread({
    title: "restartable sequences",
    fields: ["rseqAddress", "rseqSize", "rseqSignature"],
    read: (ask) => {
      // struct ptrace_rseq_configuration: pointer, size, signature, flags, pad
      const out = Buffer.alloc(24);
      if (ask.outside("ptrace", PTRACE_GET_RSEQ_CONFIGURATION, ask.tid, out.length, out) < 0)
        return { rseqAddress: 0n, rseqSize: 0, rseqSignature: 0 };
      return { rseqAddress: out.readBigUInt64LE(0), rseqSize: out.readUInt32LE(8), rseqSignature: out.readUInt32LE(12) };
    },
    phase: "thread",
    set: (setting, { rseqAddress, rseqSize, rseqSignature }) => {
      if (rseqAddress === 0n) return;
      setting.call("rseq", [rseqAddress, rseqSize, 0, rseqSignature], { message: "register restartable sequences" });
    },
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
  alternateStack: ofThread({
    title: "alternate signal stack",
    fields: ["altstackSp", "altstackSize", "altstackFlags"],
    read: (ask) => {
      const out = Buffer.alloc(24);
      ask.call("sigaltstack", 0, { out });
      return {
        altstackSp: out.readBigUInt64LE(0),
        altstackSize: out.readBigUInt64LE(16),
        // SS_ONSTACK is computed from the stack pointer, not stored.
        altstackFlags: (out.readUInt32LE(8) & ~SS_ONSTACK) >>> 0,
      };
    },
    phase: "thread",
    set: (setting, { altstackSp, altstackSize, altstackFlags }) => {
      if ((altstackFlags & SS_DISABLE) !== 0 || altstackSize === 0n) return;
      const stack = words8(altstackSp, (altstackFlags & SS_AUTODISARM) >>> 0, altstackSize);
      setting.call("sigaltstack", [stack, 0], { message: "set the alternate signal stack" });
    },
    show: shownElsewhere,
    check: anyValue,
    criu: "kept",
  }),
  scheduling: ofThread({
    title: "scheduling class",
    fields: ["schedPolicy", "schedPriority", "nice", "schedFlags", "schedRuntimeNs", "schedDeadlineNs", "schedPeriodNs"],
    read: readScheduling,
    phase: "thread",
    set: setScheduling,
    show: ({ schedPolicy, schedRuntimeNs }) =>
      schedPolicy !== "deadline" && schedRuntimeNs !== 0n ? `a slice of ${schedRuntimeNs} ns` : undefined,
    check: ({ nice }) => (nice >= -20 && nice <= 19 ? undefined : "a nice value of -20 to 19"),
    criu: "kept",
  }),
  affinity: ofThread({
    title: "processors",
    fields: ["cpuAffinity"],
    read: (ask) => {
      const mask = Buffer.alloc(1024);
      const length = ask.outside("sched_getaffinity", ask.tid, mask.length, mask);
      return { cpuAffinity: Buffer.from(mask.subarray(0, Math.max(length, 0))) };
    },
    phase: "thread",
    set: (setting, { cpuAffinity }) => {
      // A machine with other processors: what remains of the mask may be nothing, and the program runs anywhere.
      if (cpuAffinity.length > 0) setting.call("sched_setaffinity", [0, cpuAffinity.length, cpuAffinity], { mayFail: true });
    },
    show: ({ cpuAffinity }) => (isFullMask(cpuAffinity) ? undefined : processors(cpuAffinity)),
    check: anyValue,
    criu: { code: "scheduling.affinity", facet: "scheduling", text: "the CPU affinity is not kept" },
  }),
  timerSlack: ofThread({
    title: "timer slack",
    fields: ["timerSlackNs"],
    read: (ask) => ({ timerSlackNs: BigInt(prctlResult(ask, PR.getTimerslack)) }),
    phase: "thread",
    set: (setting, { timerSlackNs }) => {
      if (timerSlackNs !== 0n) setting.call("prctl", [PR.setTimerslack, timerSlackNs, 0, 0, 0], { message: "set the timer slack" });
    },
    show: ({ timerSlackNs }) => (timerSlackNs === 0n || timerSlackNs === defaultSlackNs ? undefined : `${timerSlackNs} ns`),
    check: anyValue,
    criu: { code: "scheduling.timer-slack", facet: "scheduling", text: "the timer slack is not kept" },
  }),
  ioPriority: ofThread({
    title: "I/O priority",
    fields: ["ioPriority"],
    read: (ask) => ({ ioPriority: Math.max(ask.outside("ioprio_get", IOPRIO_WHO_PROCESS, ask.tid), 0) }),
    phase: "thread",
    set: (setting, row) => {
      if (ioPriorityText(row) === undefined) return;
      setting.call("ioprio_set", [IOPRIO_WHO_PROCESS, 0, row.ioPriority], { message: "set the I/O priority" });
    },
    show: ioPriorityText,
    check: anyValue,
    criu: { code: "scheduling.io-priority", facet: "scheduling", text: "the I/O priority is not kept" },
  }),
  memoryPolicy: ofThread({
    title: "memory policy",
    fields: ["memoryPolicy", "memoryPolicyNodes"],
    read: (ask) => {
      const policy = memoryPolicyAt(ask, undefined);
      return { memoryPolicy: policy?.mode ?? 0, memoryPolicyNodes: policy?.nodes ?? new Uint8Array(0) };
    },
    phase: "thread",
    set: (setting, { memoryPolicy, memoryPolicyNodes }) => {
      if (memoryPolicy === 0) return;
      setting.call("set_mempolicy", [memoryPolicy, ...nodesArguments(memoryPolicyNodes)], {
        message: `set memory policy ${memoryPolicyText(memoryPolicy, memoryPolicyNodes)}`,
        hint: needsNodes,
      });
    },
    show: ({ memoryPolicy, memoryPolicyNodes }) => (memoryPolicy === 0 ? undefined : memoryPolicyText(memoryPolicy, memoryPolicyNodes)),
    check: ({ memoryPolicyNodes }) => nodesCheck(memoryPolicyNodes),
    criu: { code: "memory.policy", facet: "memory", text: "the memory policy is not kept" },
  }),
  timestampCounter: ofThread({
    title: "rdtsc",
    fields: ["tscMode"],
    read: (ask) => ({ tscMode: Number(prctlStored(ask, PR.getTsc) & 0xffn) }),
    phase: "credentials",
    set: (setting, { tscMode }) => {
      if (tscMode === TSC_SIGSEGV) setting.call("prctl", [PR.setTsc, tscMode, 0, 0, 0], { message: "make rdtsc fault (PR_SET_TSC)" });
    },
    show: ({ tscMode }) => (tscMode === TSC_SIGSEGV ? "faults" : undefined),
    check: ({ tscMode }) => (tscMode <= TSC_SIGSEGV ? undefined : "0, 1 or 2"),
    criu: { code: "threads.tsc", facet: "threads", text: "PR_SET_TSC is not kept" },
  }),
  memoryFailure: ofThread({
    title: "at memory failures",
    fields: ["mceKill"],
    read: (ask) => {
      const policy = ask.call("prctl", PR.mceKillGet, 0, 0, 0, 0);
      return { mceKill: policy < 0 ? 0 : policy + 1 };
    },
    phase: "thread",
    set: (setting, { mceKill }) => {
      if (mceKill !== 1 && mceKill !== 2) return;
      setting.call("prctl", [PR.mceKill, MCE_KILL_SET, mceKill - 1, 0, 0], { message: "set what is killed at memory failures" });
    },
    show: ({ mceKill }) => [undefined, "killed late", "killed early", undefined][mceKill],
    check: ({ mceKill }) => (mceKill <= 3 ? undefined : "0 to 3"),
    criu: { code: "threads.mce-kill", facet: "threads", text: "PR_MCE_KILL is not kept" },
  }),
  cpuidFaulting: ofThread({
    title: "cpuid",
    fields: ["cpuidFaulting"],
    read: (ask) => ({ cpuidFaulting: ask.call("arch_prctl", ARCH.getCpuid, 0) === 0 ? 1 : 0 }),
    phase: "credentials",
    set: (setting, { cpuidFaulting }) => {
      if (cpuidFaulting === 0) return;
      const hint = "resume on a processor that can let cpuid fault, as the program asked for it";
      setting.call("arch_prctl", [ARCH.setCpuid, 0], { message: "make cpuid fault (ARCH_SET_CPUID)", hint });
    },
    show: ({ cpuidFaulting }) => (cpuidFaulting === 0 ? undefined : "faults"),
    check: ({ cpuidFaulting }) => (cpuidFaulting <= 1 ? undefined : "0 or 1"),
    criu: { code: "threads.cpuid", facet: "threads", text: "faulting of cpuid is not kept" },
  }),
  ioFlusher: ofThread({
    title: "I/O flusher",
    fields: ["ioFlusher"],
    // PR_GET_IO_FLUSHER asks for a privilege; the two flags are for everybody to see.
    read: (ask) => ({ ioFlusher: (ask.stat(9) & ioFlusherFlags) === ioFlusherFlags ? 1 : 0 }),
    phase: "thread",
    set: (setting, { ioFlusher }) => {
      if (ioFlusher === 0) return;
      setting.call("prctl", [PR.setIoFlusher, 1, 0, 0, 0], { message: "become an I/O flusher", hint: "it needs CAP_SYS_RESOURCE" });
    },
    show: ({ ioFlusher }) => (ioFlusher === 0 ? undefined : "yes"),
    check: ({ ioFlusher }) => (ioFlusher <= 1 ? undefined : "0 or 1"),
    criu: { code: "threads.io-flusher", facet: "threads", text: "PR_SET_IO_FLUSHER is not kept" },
  }),
  speculation: ofThread({
    title: "speculation control",
    fields: ["specStoreBypass", "specIndirectBranch", "specL1dFlush"],
    read: (ask) => {
      const [specStoreBypass = 0, specIndirectBranch = 0, specL1dFlush = 0] = speculations.map((_, which) =>
        prctlResult(ask, PR.getSpeculationCtrl, which, 0, 0, 0),
      );
      return { specStoreBypass, specIndirectBranch, specL1dFlush };
    },
    phase: "credentials",
    set: (setting, row) => {
      speculations.forEach(([field, name], which) => {
        const control = speculationControl(row[field], which);
        if (control === undefined) return;
        setting.call("prctl", [PR.setSpeculationCtrl, which, control, 0, 0], {
          message: `set the control of speculation (${name})`,
          hint: "resume on a kernel and processor that let a program control it",
        });
      });
    },
    show: (row) => {
      const set = speculations.flatMap(([field, name], which) => {
        const control = speculationControl(row[field], which);
        return control === undefined ? [] : [`${name} ${speculationWords.get(control) ?? control}`];
      });
      return set.length === 0 ? undefined : set.join(", ");
    },
    check: anyValue,
    criu: { code: "threads.speculation", facet: "threads", text: "speculation control is not kept" },
  }),
  dispatch: ofThread({
    title: "syscall user dispatch",
    fields: ["dispatchMode", "dispatchOffset", "dispatchLength", "dispatchSelector"],
    read: (ask) => {
      // struct ptrace_sud_config: mode, selector, offset, length
      const out = Buffer.alloc(dispatchConfigSize);
      const isKnown = ask.outside("ptrace", PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, ask.tid, out.length, out) >= 0;
      const field = (at: number): bigint => (isKnown ? out.readBigUInt64LE(at) : 0n);
      return { dispatchMode: Number(field(0)), dispatchSelector: field(8), dispatchOffset: field(16), dispatchLength: field(24) };
    },
    phase: "traced",
    set: (setting, { dispatchMode, dispatchSelector, dispatchOffset, dispatchLength }) => {
      if (dispatchMode === 0) return;
      const config = words8(dispatchMode, dispatchSelector, dispatchOffset, dispatchLength);
      setting.call("ptrace", [PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, threadId, dispatchConfigSize, config], {
        message: "set syscall user dispatch",
        hint: "it needs Linux 6.4",
      });
    },
    show: ({ dispatchMode, dispatchOffset, dispatchLength }) =>
      dispatchMode === 0 ? undefined : `but from ${dispatchOffset.toString(16)}-${(dispatchOffset + dispatchLength).toString(16)}`,
    check: anyValue,
    criu: { code: "threads.dispatch", facet: "threads", text: "syscall user dispatch is not kept" },
  }),
  noNewPrivs: ofThread({
    title: "no_new_privs",
    fields: ["noNewPrivs"],
    read: (ask) => ({ noNewPrivs: Number(ask.status("NoNewPrivs") ?? 0) }),
    phase: "credentials",
    set: (setting, { noNewPrivs }) => {
      if (noNewPrivs === 1) setting.call("prctl", [PR.setNoNewPrivs, 1, 0, 0, 0], { message: "set no_new_privs" });
    },
    show: ({ noNewPrivs }) => (noNewPrivs === 0 ? undefined : "yes"),
    check: ({ noNewPrivs }) => (noNewPrivs <= 1 ? undefined : "0 or 1"),
    criu: "kept",
  }),
  parentDeathSignal: ofThread({
    title: "parent death signal",
    fields: ["pdeathSignal"],
    read: (ask) => ({ pdeathSignal: Number(prctlStored(ask, PR.getPdeathsig) & 0xffff_ffffn) }),
    // A change of credentials clears it. Until here it is SIGKILL, so that nothing outlives a failure.
    phase: "credentials",
    set: (setting, { pdeathSignal }) =>
      setting.call("prctl", [PR.setPdeathsig, pdeathSignal, 0, 0, 0], { message: "set the parent death signal" }),
    show: ({ pdeathSignal }) => (pdeathSignal === 0 ? undefined : `signal ${pdeathSignal}`),
    check: ({ pdeathSignal }) => (pdeathSignal <= 64 ? undefined : "a signal, 0 to 64"),
    criu: "kept",
  }),
} as const;

const TSC_SIGSEGV = 2;
/** PR_MCE_KILL's second argument; its third is LATE 0 or EARLY 1. */
const MCE_KILL_SET = 1;
/** PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE (include/linux/sched.h). */
const ioFlusherFlags = 0x0008_0000n | 0x0010_0000n;
/** PR_SPEC_*: field, name; the index is PR_SPEC_STORE_BYPASS and so on. */
const speculations = [
  ["specStoreBypass", "store bypass"],
  ["specIndirectBranch", "indirect branches"],
  ["specL1dFlush", "flush of the L1D cache"],
] as const;
const PR_SPEC_PRCTL = 1;
const specL1dFlush = 2;
const PR_SPEC_ENABLE = 2;
const PR_SPEC_DISABLE = 4;
const speculationWords = new Map([
  [2, "enabled"],
  [4, "disabled"],
  [8, "disabled for good"],
  [16, "disabled until exec"],
]);

/** The control to set again; undefined where a program cannot set it, or it is what a fresh program has. */
function speculationControl(value: number, which: number): number | undefined {
  if ((value & PR_SPEC_PRCTL) === 0) return undefined;
  const control = value & ~PR_SPEC_PRCTL;
  // For the cache, enabled is what was asked for; for the others it is what everybody has.
  return control === (which === specL1dFlush ? PR_SPEC_DISABLE : PR_SPEC_ENABLE) ? undefined : control;
}

type Scheduling = Pick<
  ThreadRow,
  "schedPolicy" | "schedPriority" | "nice" | "schedFlags" | "schedRuntimeNs" | "schedDeadlineNs" | "schedPeriodNs"
>;

function readScheduling(ask: Asking): Scheduling {
  const attr = Buffer.alloc(56);
  ask.outside("sched_getattr", ask.tid, attr, attr.length, 0);
  const number = attr.readUInt32LE(4);
  const schedPolicy = schedPolicyNames.get(number);
  if (schedPolicy === undefined) {
    throw new CrimgError("dump.sched-policy", `thread ${ask.tid}: scheduling class ${number} is unknown`, {}, exitStatus.refused);
  }
  const isDeadline = number === SCHED_DEADLINE;
  // The kernel tells the slice whether it was asked for or not: what differs from crimg's own was.
  const own = Buffer.alloc(56);
  const runtime = attr.readBigUInt64LE(24);
  const isSlice =
    fairPolicies.has(number) && ask.outside("sched_getattr", 0, own, own.length, 0) >= 0 && runtime !== own.readBigUInt64LE(24);
  return {
    schedPolicy,
    schedPriority: attr.readUInt32LE(20),
    nice: attr.readInt32LE(16),
    schedFlags: Number(attr.readBigUInt64LE(8)),
    schedRuntimeNs: isDeadline || isSlice ? runtime : 0n,
    schedDeadlineNs: isDeadline ? attr.readBigUInt64LE(32) : 0n,
    schedPeriodNs: isDeadline ? attr.readBigUInt64LE(40) : 0n,
  };
}

function setScheduling(setting: Setting, row: ThreadRow): void {
  const policy = row.schedPolicy === "ext" ? schedPolicyValues.other : schedPolicyValues[row.schedPolicy];
  const attributes = words8(
    BigInt(schedAttrSize) | (BigInt(policy) << 32n),
    row.schedFlags,
    BigInt.asUintN(32, BigInt(row.nice)) | (BigInt(row.schedPriority) << 32n),
    row.schedRuntimeNs,
    row.schedDeadlineNs,
    row.schedPeriodNs,
  );
  const isUsual = policy === schedPolicyValues.other && row.nice === 0 && row.schedFlags === 0 && row.schedRuntimeNs === 0n;
  setting.call("sched_setattr", [0, attributes, 0], {
    message: `set scheduling class ${row.schedPolicy}, priority ${row.schedPriority}, nice ${row.nice}`,
    hint: "start the image with the priority that the program had, or as root",
    // What every program has that nobody gave another priority, also where a format does not tell. Under nice(1), an
    // ordinary user cannot go back to it: then the program is as nice as its caller.
    ...(isUsual
      ? {
          tolerates: {
            errno: EPERM,
            ...(setting.isLeader
              ? { says: `${setting.taskName} had nice 0, which this user may not set: it keeps that of the caller` }
              : {}),
          },
        }
      : {}),
  });
}

/** None for a thread that never set one. Best effort 4, which 5.18 says of these as well, is set: there it means the same. */
function ioPriorityText({ ioPriority }: ThreadRow): string | undefined {
  const level = ioPriority & ((1 << ioprioClassShift) - 1);
  const group = ioPriority >> ioprioClassShift;
  if (group === 0) return undefined;
  return `${["none", "real-time", "best effort", "idle"][group] ?? `class ${group}`} ${level}`;
}

function numbersIn(mask: Uint8Array): number[] {
  return [...mask].flatMap((byte, index) => [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => index * 8 + bit));
}

/** True if every CPU up to the highest named one is in the mask: nobody restricted it. */
function isFullMask(mask: Uint8Array): boolean {
  const numbers = numbersIn(mask);
  return numbers.length === (numbers.at(-1) ?? -1) + 1;
}

/** `0,2-3`, as taskset has it. */
function processors(mask: Uint8Array): string {
  const runs: [number, number][] = [];
  for (const number of numbersIn(mask)) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
}
