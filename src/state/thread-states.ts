// SPDX-License-Identifier: Apache-2.0
/** Small states of a thread. Registers, signal mask and credentials are more than a row and have files of their own. */
import { decodeText } from "../bytes/text.js";
import { schedPolicyNames, schedPolicyValues, type ThreadRow } from "../gen/tables.js";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { PR } from "../linux/prctl.js";
import { type Asking, prctlResult, prctlStored } from "./asking.js";
import { type Setting, words8 } from "./setting.js";
import { anyValue, ofThread, shownElsewhere } from "./state.js";

const SS_ONSTACK = 1;
const SS_DISABLE = 2;
const SS_AUTODISARM = 0x8000_0000;
const PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
const IOPRIO_WHO_PROCESS = 1;
const ioprioClassShift = 13;
/** ioprio_get for a thread that never set one: best effort, level 4. */
const ioprioDefault = (2 << ioprioClassShift) | 4;
/** The kernel's default, 50 microseconds. */
const defaultSlackNs = 50_000n;
const EPERM = 1;
const SCHED_DEADLINE = 6;
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
    show: shownElsewhere,
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
  return {
    schedPolicy,
    schedPriority: attr.readUInt32LE(20),
    nice: attr.readInt32LE(16),
    schedFlags: Number(attr.readBigUInt64LE(8)),
    schedRuntimeNs: isDeadline ? attr.readBigUInt64LE(24) : 0n,
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
  const isUsual = policy === schedPolicyValues.other && row.nice === 0 && row.schedFlags === 0;
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

function ioPriorityText({ ioPriority }: ThreadRow): string | undefined {
  const level = ioPriority & ((1 << ioprioClassShift) - 1);
  const group = ioPriority >> ioprioClassShift;
  if (group === 0 || ioPriority === ioprioDefault) return undefined;
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
