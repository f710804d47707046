// SPDX-License-Identifier: Apache-2.0
/** What belongs to one thread and is set by itself, credentials last. Registers come with leaving (leave.ts). */
import { rlimitResourceValues, schedPolicyValues } from "../gen/tables.js";
import { ARCH, ERRNO, PR } from "./constants.js";
import { lowerCredentials } from "./credentials.js";
import type { Lowering } from "./lowering.js";
import { lowerPendingSignals } from "./signals.js";

const SS_DISABLE = 2;
const SS_AUTODISARM = 0x8000_0000;
const IOPRIO_WHO_PROCESS = 1;
const ioprioClassShift = 13;
/** ioprio_get for a thread that never set one: best effort, level 4. */
const ioprioDefault = (2 << ioprioClassShift) | 4;

/** Ops of the thread. `index`: row of threads. */
export function lowerThreadState(l: Lowering, index: number): void {
  const b = l.builder;
  const thread = l.thread(index);
  b.syscall("prctl", [PR.setName, b.string(thread.comm), 0, 0, 0], { message: `take the name ${thread.comm}` });
  b.syscall("arch_prctl", [ARCH.setFs, thread.regs.fsBase], { message: "set the fs base" });
  b.syscall("arch_prctl", [ARCH.setGs, thread.regs.gsBase], { message: "set the gs base" });
  if (thread.clearChildTid !== 0n) b.syscall("set_tid_address", [thread.clearChildTid]);
  if (thread.robustListHead !== 0n) {
    b.syscall("set_robust_list", [thread.robustListHead, thread.robustListLen || 24n], { message: "set the robust futex list" });
  }
  if (thread.rseqAddress !== 0n) {
    b.syscall("rseq", [thread.rseqAddress, thread.rseqSize, 0, thread.rseqSignature], { message: "register restartable sequences" });
  }
  if ((thread.altstackFlags & SS_DISABLE) === 0 && thread.altstackSize > 0n) {
    const stack = b.u8s(thread.altstackSp, (thread.altstackFlags & SS_AUTODISARM) >>> 0, thread.altstackSize);
    b.syscall("sigaltstack", [stack, 0], { message: "set the alternate signal stack" });
  }
  lowerScheduling(l, index);
  lowerPendingSignals(b, l.checkpoint, thread.task, index, l.taskPid(thread.task), l.threadShared(index).u4);
  const creds = thread.creds === null ? undefined : l.checkpoint.tables.creds[thread.creds];
  lowerCredentials(b, thread, creds, l.isPrivileged, l.isNamespaced);
  // A change of credentials clears it, so it comes after them. Until here it is SIGKILL, so that nothing outlives a failure.
  b.syscall("prctl", [PR.setPdeathsig, thread.pdeathSignal, 0, 0, 0], { message: "set the parent death signal" });
}

function lowerScheduling(l: Lowering, index: number): void {
  const b = l.builder;
  const thread = l.thread(index);
  const policy = thread.schedPolicy === "ext" ? schedPolicyValues.other : schedPolicyValues[thread.schedPolicy];
  const attributes = b.u8s(
    48n | (BigInt(policy) << 32n),
    thread.schedFlags,
    BigInt.asUintN(32, BigInt(thread.nice)) | (BigInt(thread.schedPriority) << 32n),
    thread.schedRuntimeNs,
    thread.schedDeadlineNs,
    thread.schedPeriodNs,
  );
  const options = {
    message: `set scheduling class ${thread.schedPolicy}, priority ${thread.schedPriority}, nice ${thread.nice}`,
    hint: "start the image with the priority that the program had, or as root",
  };
  if (policy === schedPolicyValues.other && thread.nice === 0 && thread.schedFlags === 0) {
    // What every program has that nobody gave another priority, also where a format does not tell. Under nice(1), an
    // ordinary user cannot go back to it: then the program is as nice as its caller.
    const result = b.slot("result of sched_setattr");
    const isSet = b.label("priority is set");
    b.syscall("sched_setattr", [0, attributes, 0], { ...options, store: result, expect: [0, -ERRNO.perm] });
    b.jumpIf(result, "eq", 0, isSet);
    if (l.checkpoint.threadsOf(thread.task)[0] === index)
      b.print(`${l.taskName(thread.task)} had nice 0, which this user may not set: it keeps that of the caller`);
    b.place(isSet);
  } else {
    b.syscall("sched_setattr", [0, attributes, 0], options);
  }
  if (thread.cpuAffinity.length > 0) {
    // A machine with other processors: what remains of the mask may be nothing, and the program runs anywhere.
    b.syscall("sched_setaffinity", [0, thread.cpuAffinity.length, b.bytes(thread.cpuAffinity)], { expect: "any" });
  }
  if (thread.timerSlackNs !== 0n) b.syscall("prctl", [PR.setTimerslack, thread.timerSlackNs, 0, 0, 0], { message: "set the timer slack" });
  if (thread.ioPriority >> ioprioClassShift !== 0 && thread.ioPriority !== ioprioDefault) {
    b.syscall("ioprio_set", [IOPRIO_WHO_PROCESS, 0, thread.ioPriority], { message: "set the I/O priority" });
  }
}

/** Limits of a task. They come after everything that they could hinder. */
export function lowerLimits(l: Lowering, task: number): void {
  const b = l.builder;
  for (const { task: owner, resource, soft, hard } of l.checkpoint.tables.rlimits) {
    if (owner !== task) continue;
    b.syscall("prlimit64", [0, rlimitResourceValues[resource], b.u8s(soft, hard), 0], {
      message: `set limit ${resource} to ${soft}, hard ${hard}`,
      hint: `start the image where the hard limit is as high (ulimit -H), or as root`,
    });
  }
}
