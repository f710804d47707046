// SPDX-License-Identifier: Apache-2.0
/** What belongs to one thread and is set by itself, credentials last. Registers come with leaving (release-threads.ts). */
import { type RlimitResource, rlimitResourceValues } from "../gen/tables.js";
import { ARCH } from "./constants.js";
import { lowerCredentials } from "./credentials.js";
import type { Lowering } from "./lowering.js";
import { lowerPendingSignals } from "./signals.js";
import { setThreadStates } from "./state-setter.js";

/** Ops of the thread. `index`: row of threads. */
export function lowerThreadState(l: Lowering, index: number): void {
  const b = l.builder;
  const thread = l.thread(index);
  b.syscall("arch_prctl", [ARCH.setFs, thread.regs.fsBase], { message: "set the fs base" });
  b.syscall("arch_prctl", [ARCH.setGs, thread.regs.gsBase], { message: "set the gs base" });
  setThreadStates(l, "thread", index);
  lowerPendingSignals(b, l.checkpoint, thread.task, index, l.taskPid(thread.task), l.threadShared(index).u4);
  l.seccomp?.install(index);
  const creds = thread.creds === null ? undefined : l.checkpoint.tables.creds[thread.creds];
  lowerCredentials(b, creds, l);
  setThreadStates(l, "credentials", index);
}

/** Limits of a task. They come after everything that they could hinder. */
export function lowerLimits(l: Lowering, task: number): void {
  setLimits(l, task, (resource) => resource !== "nproc");
}

/** The limit on processes and threads comes when all are there: haproxy sets it to 0 when it has its threads. */
export function lowerLimitOfThreads(l: Lowering, task: number): void {
  setLimits(l, task, (resource) => resource === "nproc");
}

function setLimits(l: Lowering, task: number, isWanted: (resource: RlimitResource) => boolean): void {
  for (const { task: owner, resource, soft, hard } of l.checkpoint.tables.rlimits) {
    if (owner !== task || !isWanted(resource)) continue;
    l.builder.syscall("prlimit64", [0, rlimitResourceValues[resource], l.builder.u8s(soft, hard), 0], {
      message: `set limit ${resource} to ${soft}, hard ${hard}`,
      hint: `start the image where the hard limit is as high (ulimit -H), or as root`,
    });
  }
}
