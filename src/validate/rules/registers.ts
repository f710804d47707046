// SPDX-License-Identifier: Apache-2.0
/** Rules about the CPU state of threads (Intel SDM vol. 1, 3 and 13; asm/ptrace-abi.h). */
import type { ThreadRow } from "../../gen/tables.js";
import type { Problem } from "../finding.js";
import { type ModelContext, type ModelRule, hex, mmOfThread, modelRule, userEnd, vmaAt, vsyscallStart } from "../model-context.js";

const legacyBytes = 512;
const headerEnd = 576;
const xcr0Offset = 464;
const xstateBvOffset = 512;
const xcompBvOffset = 520;
const mxcsrOffset = 24;
const fixedFlag = 1n << 1n;
/** Bits of RFLAGS that are always zero: 3, 5, 15 and 22 up. */
const zeroFlags = (1n << 3n) | (1n << 5n) | (1n << 15n) | (0xffffffffffffffffn & ~((1n << 22n) - 1n));
const mxcsrMaskOffset = 28;
/** Bits of MXCSR that FXRSTOR takes on any CPU; a CPU without some says so in mxcsr_mask. */
const mxcsrKnown = 0xffff;
/** Behind XSTATE_BV and XCOMP_BV; the kernel refuses anything but zeros (validate_user_xstate_header). */
const headerReserved = 528;

const isUserAddress = (value: bigint): boolean => value < userEnd || (value >= vsyscallStart && value < vsyscallStart + 4096n);

/** Threads of tasks that still run: those that have registers worth judging. */
function* livingThreads({ tables }: ModelContext): Generator<readonly [number, ThreadRow]> {
  for (const [row, thread] of tables.threads.entries()) if (tables.tasks[thread.task]?.state !== "zombie") yield [row, thread];
}

function* xstateProblems(row: number, { tid, xstate }: ThreadRow, cpuFeatures: bigint): Generator<Problem> {
  const at = { table: "threads", row, field: "xstate" } as const;
  if (xstate.length === 0) return;
  if (xstate.length !== legacyBytes && xstate.length < headerEnd) {
    yield {
      message: `the xstate of thread ${tid} is cut off`,
      at,
      expected: "0, 512, or at least 576 bytes",
      actual: `${xstate.length} bytes`,
    };
    return;
  }
  const view = Buffer.from(xstate.buffer, xstate.byteOffset, xstate.byteLength);
  const mxcsr = view.readUInt32LE(mxcsrOffset);
  const mask = view.readUInt32LE(mxcsrMaskOffset);
  const taken = mask === 0 ? mxcsrKnown : mask & mxcsrKnown;
  if ((mxcsr & ~taken) !== 0)
    yield {
      message: `mxcsr of thread ${tid} has bits that its CPU does not take`,
      at,
      expected: `among ${hex(taken)}`,
      actual: hex(mxcsr),
    };
  if (xstate.length === legacyBytes) return;
  const used = view.readBigUInt64LE(xstateBvOffset);
  const xcr0 = view.readBigUInt64LE(xcr0Offset);
  const features = xcr0 !== 0n ? xcr0 : cpuFeatures;
  if (features !== 0n && (used & ~features) !== 0n) {
    yield {
      message: `the xstate of thread ${tid} uses components that its CPU did not have`,
      at,
      expected: `among ${hex(features)}`,
      actual: hex(used),
    };
  }
  if (view.readBigUInt64LE(xcompBvOffset) !== 0n) {
    yield {
      message: `the xstate of thread ${tid} is in the compacted form`,
      at,
      expected: "the standard form",
      actual: hex(view.readBigUInt64LE(xcompBvOffset)),
    };
  }
  if (view.subarray(headerReserved, headerEnd).some((byte) => byte !== 0)) {
    yield { message: `the xstate header of thread ${tid} has reserved bytes that are not zero`, at, expected: "zeros at 528 to 575" };
  }
}

export const registerRules: readonly ModelRule[] = [
  modelRule(
    { code: "register.canonical", facet: "registers", summary: "ip, sp, fs_base and gs_base are user addresses.", spec: "SPEC 8" },
    function* (context) {
      for (const [row, { tid, regs }] of livingThreads(context)) {
        for (const [field, value] of [
          ["ip", regs.ip],
          ["sp", regs.sp],
          ["fs_base", regs.fsBase],
          ["gs_base", regs.gsBase],
        ] as const) {
          if (isUserAddress(value)) continue;
          yield {
            message: `${field} of thread ${tid} is no user address`,
            at: { table: "threads", row, field: `regs.${field}` },
            expected: `below ${hex(userEnd)}`,
            actual: hex(value),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "register.ip", facet: "registers", summary: "The instruction pointer lies in an executable mapping.", spec: "SPEC 8" },
    function* (context) {
      for (const [row, thread] of livingThreads(context)) {
        const mm = mmOfThread(context, thread);
        const { ip } = thread.regs;
        if (mm === null || !isUserAddress(ip)) continue;
        // Inside an interrupted call ip is behind the instruction, which may be the last of its mapping.
        const vma = vmaAt(context, mm, ip) ?? (ip > 0n ? vmaAt(context, mm, ip - 1n) : undefined);
        if (vma !== undefined && (vma.prot & 4) !== 0) continue;
        yield {
          message: `ip of thread ${thread.tid} lies in ${vma === undefined ? "no mapping" : "a mapping that is not executable"}`,
          at: { table: "threads", row, field: "regs.ip" },
          actual: hex(ip),
        };
      }
    },
  ),
  modelRule(
    {
      code: "register.sp",
      severity: "warning",
      facet: "registers",
      summary: "The stack pointer lies in a writable mapping.",
      spec: "SPEC 8",
    },
    function* (context) {
      for (const [row, thread] of livingThreads(context)) {
        const mm = mmOfThread(context, thread);
        const { sp } = thread.regs;
        if (mm === null || !isUserAddress(sp)) continue;
        // An empty stack's pointer is the address after the last byte.
        const vma = vmaAt(context, mm, sp) ?? (sp > 0n ? vmaAt(context, mm, sp - 1n) : undefined);
        if (vma !== undefined && (vma.prot & 2) !== 0) continue;
        yield {
          message: `sp of thread ${thread.tid} lies in ${vma === undefined ? "no mapping" : "a mapping that is not writable"}`,
          at: { table: "threads", row, field: "regs.sp" },
          actual: hex(sp),
        };
      }
    },
  ),
  modelRule(
    {
      code: "register.flags",
      facet: "registers",
      summary: "Reserved bits of the flags register have their fixed values.",
      spec: "Intel SDM 1, 3.4.3",
    },
    function* (context) {
      for (const [row, { tid, regs }] of livingThreads(context)) {
        if ((regs.flags & zeroFlags) === 0n && (regs.flags & fixedFlag) !== 0n) continue;
        yield {
          message: `the flags of thread ${tid} have impossible bits`,
          at: { table: "threads", row, field: "regs.flags" },
          expected: "bit 1 set; 3, 5, 15, 22 up clear",
          actual: hex(regs.flags),
        };
      }
    },
  ),
  modelRule(
    { code: "register.segments", facet: "registers", summary: "Segment selectors are those of user code.", spec: "SPEC 8" },
    function* (context) {
      for (const [row, { tid, regs }] of livingThreads(context)) {
        if (regs.cs !== 0x33n)
          yield {
            message: `cs of thread ${tid} is not that of 64-bit code`,
            at: { table: "threads", row, field: "regs.cs" },
            expected: "0x33",
            actual: hex(regs.cs),
          };
        if (regs.ss !== 0x2bn && regs.ss !== 0n)
          yield {
            message: `ss of thread ${tid} is not that of user mode`,
            at: { table: "threads", row, field: "regs.ss" },
            expected: "0x2b",
            actual: hex(regs.ss),
          };
        for (const [field, value] of [
          ["ds", regs.ds],
          ["es", regs.es],
          ["fs", regs.fs],
          ["gs", regs.gs],
        ] as const) {
          // The kernel refuses selectors with another privilege level than 3 (0 is the null selector).
          if (value <= 0xffffn && (value === 0n || (value & 3n) === 3n)) continue;
          yield {
            message: `${field} of thread ${tid} is no selector that user code can have`,
            at: { table: "threads", row, field: `regs.${field}` },
            actual: hex(value),
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "register.xstate",
      facet: "fpu",
      summary: "The extended state is whole, in the standard form, and uses only components that the CPU had.",
      spec: "Intel SDM 1, 13.4",
    },
    function* (context) {
      const features = context.tables.checkpoint[0]?.xfeatures ?? 0n;
      for (const [row, thread] of livingThreads(context)) yield* xstateProblems(row, thread, features);
    },
  ),
];
