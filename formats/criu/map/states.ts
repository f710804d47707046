// SPDX-License-Identifier: Apache-2.0
/**
 * The small states (src/state) that an image set has a field for, each mapping beside its inverse. Complete by type:
 * a row of the table that says `criu: "kept"` must stand here. Those that it does not keep are losses (losses.ts).
 */
import { create, isFieldSet } from "@bufbuild/protobuf";
import { decodeText, encodeText } from "../../../src/bytes/text.js";
import { type MmRow, schedPolicyNames, schedPolicyValues, type TaskRow, type ThreadRow } from "../../../src/gen/tables.js";
import type { KeptMmState, KeptTaskState, KeptThreadState } from "../../../src/state/states.js";
import { AltStackSchema, type CoreEntry, RseqSchema, type TaskCore, TaskCoreSchema, type ThreadCore } from "../gen/core_pb.js";
import type { MmEntry } from "../gen/memory_pb.js";
import type { FsEntry } from "../gen/tree_pb.js";

/** The messages that hold states of a process. */
interface TaskMessages {
  readonly core?: TaskCore;
  readonly fs?: FsEntry;
}
interface MmMessages {
  readonly core?: TaskCore;
  readonly mm?: MmEntry;
}

interface Mapping<Row, From, Into = From> {
  readonly fromWire: (from: From) => Partial<Row>;
  /** Fills the messages given. */
  readonly toWire: (row: Row, into: Into) => void;
}

/** sched_setscheduler's SCHED_RESET_ON_FORK, and the same as sched_attr has it. */
const resetOnForkPolicy = 0x40000000;
const schedFlagResetOnFork = 1;
/** "Not set", which a restore leaves alone. */
const noLoginUid = 0xffffffff;
/** umask where a set says nothing of the file system. */
const usualUmask = 0o022;

const taskMappings: Record<KeptTaskState, Mapping<TaskRow, TaskMessages>> = {
  umask: {
    fromWire: ({ fs }) => ({ umask: fs?.umask ?? usualUmask }),
    toWire: ({ umask }, { fs }) => {
      if (fs) fs.umask = umask;
    },
  },
  personality: {
    fromWire: ({ core }) => ({ personality: core?.personality ?? 0 }),
    toWire: ({ personality }, { core }) => {
      if (core) core.personality = personality;
    },
  },
  oomScoreAdj: {
    fromWire: ({ core }) => ({ oomScoreAdj: core?.oomScoreAdj ?? 0 }),
    toWire: ({ oomScoreAdj, state }, { core }) => {
      if (core && state !== "zombie") core.oomScoreAdj = oomScoreAdj;
    },
  },
  loginUid: {
    // The image says 2^32 - 1 where nobody logged in; without the field it is unknown.
    fromWire: ({ core }) => {
      if (core === undefined || !isFieldSet(core, TaskCoreSchema.field.loginuid)) return { loginUid: 0 };
      return { loginUid: core.loginuid === noLoginUid ? noLoginUid : core.loginuid + 1 };
    },
    toWire: ({ loginUid, state }, { core }) => {
      if (core && state !== "zombie") core.loginuid = loginUid === 0 || loginUid === noLoginUid ? noLoginUid : loginUid - 1;
    },
  },
  childSubreaper: {
    fromWire: ({ core }) => ({ childSubreaper: core?.childSubreaper ? 1 : 0 }),
    toWire: ({ childSubreaper, state }, { core }) => {
      if (core && state !== "zombie") core.childSubreaper = childSubreaper !== 0;
    },
  },
};

const mmMappings: Record<KeptMmState, Mapping<MmRow, MmMessages>> = {
  dumpable: {
    fromWire: ({ mm }) => ({ dumpable: mm?.dumpable ?? 0 }),
    toWire: ({ dumpable }, { mm }) => {
      if (mm) mm.dumpable = dumpable;
    },
  },
  hugePages: {
    fromWire: ({ mm }) => ({ thpDisabled: mm?.thpDisabled ? 1 : 0 }),
    toWire: ({ thpDisabled }, { mm }) => {
      if (mm) mm.thpDisabled = thpDisabled !== 0;
    },
  },
  membarrier: {
    fromWire: ({ core }) => ({ membarrier: core?.membarrierRegistrationMask ?? 0 }),
    toWire: ({ membarrier }, { core }) => {
      if (core && membarrier !== 0) core.membarrierRegistrationMask = membarrier;
    },
  },
};

/** A thread's messages; `processName` is for threads without a name of their own (before CRIU 3.11). */
interface ThreadMessages {
  readonly core: CoreEntry;
  readonly processName?: Uint8Array | undefined;
}

const threadMappings: Record<
  KeptThreadState,
  Mapping<ThreadRow, ThreadMessages, { readonly core: CoreEntry; readonly thread: ThreadCore }>
> = {
  comm: {
    fromWire: ({ core, processName }) => {
      const comm = core.threadCore?.comm ?? new Uint8Array(0);
      return { comm: decodeText(comm.length > 0 ? comm : (processName ?? comm)) };
    },
    toWire: ({ comm }, { thread }) => {
      thread.comm = encodeText(comm);
    },
  },
  clearChildTid: {
    fromWire: ({ core }) => ({ clearChildTid: core.threadInfo?.clearTidAddr ?? 0n }),
    toWire: ({ clearChildTid }, { core }) => {
      if (core.threadInfo) core.threadInfo.clearTidAddr = clearChildTid;
    },
  },
  robustList: {
    fromWire: ({ core: { threadCore } }) => ({
      robustListHead: threadCore?.futexRla ?? 0n,
      robustListLen: BigInt(threadCore?.futexRlaLen ?? 0),
    }),
    toWire: ({ robustListHead, robustListLen }, { thread }) => {
      thread.futexRla = robustListHead;
      thread.futexRlaLen = Number(robustListLen);
    },
  },
  rseq: {
    fromWire: ({ core: { threadCore } }) => ({
      rseqAddress: threadCore?.rseqEntry?.rseqAbiPointer ?? 0n,
      rseqSize: threadCore?.rseqEntry?.rseqAbiSize ?? 0,
      rseqSignature: threadCore?.rseqEntry?.signature ?? 0,
    }),
    toWire: ({ rseqAddress, rseqSize, rseqSignature }, { thread }) => {
      thread.rseqEntry = create(RseqSchema, { rseqAbiPointer: rseqAddress, rseqAbiSize: rseqSize, signature: rseqSignature });
    },
  },
  alternateStack: {
    fromWire: ({ core: { threadCore } }) => ({
      altstackSp: threadCore?.sas?.ssSp ?? 0n,
      altstackSize: threadCore?.sas?.ssSize ?? 0n,
      altstackFlags: threadCore?.sas?.ssFlags ?? 2,
    }),
    toWire: ({ altstackSp, altstackSize, altstackFlags }, { thread }) => {
      thread.sas = create(AltStackSchema, { ssSp: altstackSp, ssSize: altstackSize, ssFlags: altstackFlags });
    },
  },
  scheduling: {
    fromWire: ({ core: { threadCore } }) => {
      const policy = threadCore?.schedPolicy ?? 0;
      return {
        schedPolicy: schedPolicyNames.get(policy & ~resetOnForkPolicy) ?? "other",
        schedFlags: (policy & resetOnForkPolicy) !== 0 ? schedFlagResetOnFork : 0,
        schedPriority: threadCore?.schedPrio ?? 0,
        nice: threadCore?.schedNice ?? 0,
      };
    },
    toWire: ({ schedPolicy, schedFlags, schedPriority, nice }, { thread }) => {
      thread.schedPolicy = schedPolicyValues[schedPolicy] | ((schedFlags & schedFlagResetOnFork) !== 0 ? resetOnForkPolicy : 0);
      thread.schedNice = nice;
      if (schedPolicy === "fifo" || schedPolicy === "rr") thread.schedPrio = schedPriority;
    },
  },
  noNewPrivs: {
    fromWire: ({ core: { threadCore } }) => ({ noNewPrivs: threadCore?.creds?.noNewPrivs ?? 0 }),
    // Credentials, if there are any, are there before.
    toWire: ({ noNewPrivs }, { thread }) => {
      if (thread.creds && noNewPrivs !== 0) thread.creds.noNewPrivs = noNewPrivs;
    },
  },
  parentDeathSignal: {
    fromWire: ({ core: { threadCore } }) => ({ pdeathSignal: threadCore?.pdeathSig ?? 0 }),
    toWire: ({ pdeathSignal }, { thread }) => {
      if (pdeathSignal !== 0) thread.pdeathSig = pdeathSignal;
    },
  },
};

function allFrom<Row, From, Into>(mappings: Readonly<Record<string, Mapping<Row, From, Into>>>, from: From): Partial<Row> {
  return Object.assign({}, ...Object.values(mappings).map(({ fromWire }) => fromWire(from)));
}

function allInto<Row, From, Into>(mappings: Readonly<Record<string, Mapping<Row, From, Into>>>, row: Row, into: Into): void {
  for (const { toWire } of Object.values(mappings)) toWire(row, into);
}

export const taskStatesFromWire = (from: TaskMessages): Partial<TaskRow> => allFrom(taskMappings, from);
export const taskStatesToWire = (row: TaskRow, into: TaskMessages): void => allInto(taskMappings, row, into);
export const mmStatesFromWire = (from: MmMessages): Partial<MmRow> => allFrom(mmMappings, from);
export const mmStatesToWire = (row: MmRow, into: MmMessages): void => allInto(mmMappings, row, into);
export const threadStatesFromWire = (from: ThreadMessages): Partial<ThreadRow> => allFrom(threadMappings, from);
export const threadStatesToWire = (row: ThreadRow, core: CoreEntry): void => {
  if (core.threadCore) allInto(threadMappings, row, { core, thread: core.threadCore });
};
