// SPDX-License-Identifier: Apache-2.0
/** What a leader's core image says of its process, and credentials: signals, timers, limits. */
import { create, toBinary } from "@bufbuild/protobuf";
import { encodeText } from "../../../src/bytes/text.js";
import {
  credRow,
  type CredRow,
  intervalTimerRow,
  type ItimerKind,
  type IntervalTimerRow,
  pendingSignalRow,
  posixTimerRow,
  type PosixTimerRow,
  rlimitResourceNames,
  rlimitResourceValues,
  rlimitRow,
  type RlimitRow,
  signalActionRow,
  type TaskRow,
  type Tables,
  type ThreadRow,
} from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import {
  type Creds,
  CredsSchema,
  type Itimer,
  ItimerSchema,
  type PosixTimer,
  PosixTimerSchema,
  RlimitSchema,
  type SigAction,
  SigActionSchema,
  type SignalQueue,
  SignalQueueSchema,
  type TaskCore,
  TaskCoreSchema,
  type TaskTimers,
  TaskTimersSchema,
} from "../gen/core_pb.js";
import { u32Bytes, u32Values } from "../ids/image-set-ids.js";
import { taskStateToWire } from "./map-core.js";
import { mmStatesToWire, taskStatesToWire } from "./states.js";

/** Signals that an image has actions of, in its order: SIGKILL and SIGSTOP have none. */
const actionSignals: readonly number[] = Array.from({ length: 64 }, (_, index) => index + 1).filter(
  (signal) => signal !== 9 && signal !== 19,
);

/** Resources in the order of an image. */
const resources = [...rlimitResourceNames.keys()].sort((a, b) => a - b);

const microseconds = 1_000_000n;
const nanoseconds = 1_000_000_000n;

/** Adds the rows of a process that hang on its task row. */
export function processFromWire(builder: ModelBuilder, task: number, core: TaskCore): void {
  const { tables } = builder;
  core.rlimits?.rlimits.forEach(({ cur, max }, index) => {
    const resource = rlimitResourceNames.get(index);
    if (resource !== undefined) tables.rlimits.push(rlimitRow({ task, resource, soft: cur, hard: max }));
  });
  core.sigactions.forEach((action, index) => {
    const signal = actionSignals[index];
    const isDefault = action.sigaction === 0n && action.flags === 0n && action.mask === 0n && action.restorer === 0n;
    if (signal === undefined || isDefault) return;
    tables.signalActions.push(
      signalActionRow({ task, signal, handler: action.sigaction, flags: action.flags, restorer: action.restorer, mask: action.mask }),
    );
  });
  queueFromWire(builder, task, null, core.signalsS);
  const { timers } = core;
  if (!timers) return;
  itimerFromWire(builder, task, "real", timers.real);
  itimerFromWire(builder, task, "virtual", timers.virt);
  itimerFromWire(builder, task, "prof", timers.prof);
  for (const timer of timers.posix) tables.posixTimers.push(posixTimerFromWire(task, timer));
}

/** Adds queued signals, for the process (thread null) or a thread. */
export function queueFromWire(builder: ModelBuilder, task: number, thread: number | null, queue: SignalQueue | undefined): void {
  for (const { siginfo } of queue?.signals ?? []) {
    builder.tables.pendingSignals.push(pendingSignalRow({ task, thread, siginfo: siginfo.slice() }));
  }
}

export function queueToWire(tables: Tables, task: number, thread: number | null): SignalQueue {
  const rows = tables.pendingSignals.filter((row) => row.task === task && row.thread === thread);
  return create(SignalQueueSchema, { signals: rows.map(({ siginfo }) => ({ siginfo })) });
}

function itimerFromWire(builder: ModelBuilder, task: number, which: ItimerKind, timer: Itimer | undefined): void {
  if (!timer) return;
  const valueUs = timer.vsec * microseconds + timer.vusec;
  const intervalUs = timer.isec * microseconds + timer.iusec;
  if (valueUs !== 0n || intervalUs !== 0n) builder.tables.intervalTimers.push(intervalTimerRow({ task, which, valueUs, intervalUs }));
}

function itimerToWire(row: IntervalTimerRow | undefined): Itimer {
  const value = row?.valueUs ?? 0n;
  const interval = row?.intervalUs ?? 0n;
  return create(ItimerSchema, {
    isec: interval / microseconds,
    iusec: interval % microseconds,
    vsec: value / microseconds,
    vusec: value % microseconds,
  });
}

function posixTimerFromWire(task: number, timer: PosixTimer): PosixTimerRow {
  return posixTimerRow({
    task,
    timerId: timer.itId | 0,
    clock: timer.clockId | 0,
    notify: timer.itSigevNotify,
    signal: timer.siSigno,
    notifyTid: timer.notifyThreadId < 0 ? 0 : timer.notifyThreadId,
    sigval: timer.sivalPtr,
    valueNs: timer.vsec * nanoseconds + timer.vnsec,
    intervalNs: timer.isec * nanoseconds + timer.insec,
    overrun: timer.overrun,
  });
}

function posixTimerToWire(row: PosixTimerRow): PosixTimer {
  const timer = create(PosixTimerSchema, {
    itId: row.timerId >>> 0,
    clockId: (row.clockTid === 0 ? row.clock : (~row.clockTid << 3) | (row.clock & 7)) >>> 0,
    siSigno: row.signal,
    itSigevNotify: row.notify,
    sivalPtr: row.sigval,
    overrun: row.overrun,
    isec: row.intervalNs / nanoseconds,
    insec: row.intervalNs % nanoseconds,
    vsec: row.valueNs / nanoseconds,
    vnsec: row.valueNs % nanoseconds,
  });
  if (row.notifyTid !== 0) timer.notifyThreadId = row.notifyTid;
  return timer;
}

function timersToWire(tables: Tables, task: number): TaskTimers {
  const of = (which: ItimerKind): Itimer => itimerToWire(tables.intervalTimers.find((row) => row.task === task && row.which === which));
  return create(TaskTimersSchema, {
    real: of("real"),
    virt: of("virtual"),
    prof: of("prof"),
    posix: tables.posixTimers.filter((row) => row.task === task).map(posixTimerToWire),
  });
}

/** The process part of a leader's core image. */
export function taskCoreToWire(tables: Tables, taskIndex: number, task: TaskRow, leader: ThreadRow | undefined): TaskCore {
  const core = create(TaskCoreSchema, {
    taskState: taskStateToWire(task),
    exitCode: task.waitStatus,
    flags: task.taskFlags,
    blkSigset: leader?.sigMask ?? 0n,
    comm: encodeText(leader?.comm ?? task.comm),
  });
  taskStatesToWire(task, { core });
  if (task.state === "zombie") return core;
  core.timers = timersToWire(tables, taskIndex);
  const limits = new Map<number, RlimitRow>(
    tables.rlimits.filter((row) => row.task === taskIndex).map((row) => [rlimitResourceValues[row.resource], row]),
  );
  if (limits.size > 0) {
    core.rlimits = {
      $typeName: "crimg.criu.TaskRlimits",
      rlimits: resources.map((number) => {
        const limit = limits.get(number);
        return create(RlimitSchema, { cur: limit?.soft ?? infinity, max: limit?.hard ?? infinity });
      }),
    };
  }
  core.signalsS = queueToWire(tables, taskIndex, null);
  core.sigactions = actionsToWire(tables, taskIndex);
  if (task.state === "stopped") core.stopSigno = task.stopSignal;
  const mm = task.mm === null ? undefined : tables.mms[task.mm];
  if (mm !== undefined) mmStatesToWire(mm, { core });
  return core;
}

const infinity = 0xffffffffffffffffn;

function actionsToWire(tables: Tables, task: number): SigAction[] {
  const rows = new Map(tables.signalActions.filter((row) => row.task === task).map((row) => [row.signal, row]));
  return actionSignals.map((signal) => {
    const row = rows.get(signal);
    return create(SigActionSchema, {
      sigaction: row?.handler ?? 0n,
      flags: row?.flags ?? 0n,
      restorer: row?.restorer ?? 0n,
      mask: row?.mask ?? 0n,
      compatSigaction: false,
    });
  });
}

function wide(words: readonly number[]): bigint {
  return BigInt(words[0] ?? 0) | (BigInt(words[1] ?? 0) << 32n);
}

function narrow(set: bigint): number[] {
  return [Number(set & 0xffffffffn), Number((set >> 32n) & 0xffffffffn)];
}

/** The row of a set of credentials; threads with the same share it. */
export function credsFromWire(builder: ModelBuilder, creds: Creds): number {
  const row = credRow({
    uid: creds.uid,
    euid: creds.euid,
    suid: creds.suid,
    fsuid: creds.fsuid,
    gid: creds.gid,
    egid: creds.egid,
    sgid: creds.sgid,
    fsgid: creds.fsgid,
    capInheritable: wide(creds.capInh),
    capPermitted: wide(creds.capPrm),
    capEffective: wide(creds.capEff),
    capBounding: wide(creds.capBnd),
    capAmbient: wide(creds.capAmb),
    securebits: creds.secbits,
    groups: u32Bytes(...creds.groups),
  });
  const key = Buffer.from(toBinary(CredsSchema, credsToWire(row))).toString("latin1");
  const known = builder.credRows.get(key);
  if (known !== undefined) return known;
  const index = builder.tables.creds.push(row) - 1;
  builder.credRows.set(key, index);
  return index;
}

export function credsToWire(row: CredRow): Creds {
  return create(CredsSchema, {
    uid: row.uid,
    euid: row.euid,
    suid: row.suid,
    fsuid: row.fsuid,
    gid: row.gid,
    egid: row.egid,
    sgid: row.sgid,
    fsgid: row.fsgid,
    capInh: narrow(row.capInheritable),
    capPrm: narrow(row.capPermitted),
    capEff: narrow(row.capEffective),
    capBnd: narrow(row.capBounding),
    capAmb: narrow(row.capAmbient),
    secbits: row.securebits,
    groups: u32Values(row.groups),
  });
}
