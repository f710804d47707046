// SPDX-License-Identifier: Apache-2.0
/** Registers as ptrace and as a signal frame take them, and what becomes of an interrupted system call. */
import type { Gpregs, ThreadRow } from "../gen/tables.js";
import type { DataRef } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

const restart = { sys: -512n, nointr: -513n, nohand: -514n, restartBlock: -516n } as const;
/** A `syscall` instruction. */
const syscallLength = 2n;

function signed(value: bigint): bigint {
  return BigInt.asIntN(64, value);
}

/** True if the task was stopped in a system call that the kernel restarts by itself. */
export function isRestarting(regs: Gpregs): boolean {
  const ax = signed(regs.ax);
  return signed(regs.origAx) >= 0n && (ax === restart.sys || ax === restart.nointr || ax === restart.nohand || ax === restart.restartBlock);
}

/**
 * For PTRACE_SETREGS in a stop that the kernel leaves by its signal code: it restarts the call itself, or lets it fail
 * with EINTR if a handler runs first, exactly as it would have. Only the restart block (-516) is lost; its calls start
 * from the beginning (-514 has the same rule about handlers).
 */
export function tracedRegisters(regs: Gpregs): Gpregs {
  if (!isRestarting(regs)) return regs;
  return signed(regs.ax) === restart.restartBlock ? { ...regs, ax: BigInt.asUintN(64, restart.nohand) } : regs;
}

/** For rt_sigreturn, which restarts nothing: the call is made again. */
export function rewoundRegisters(regs: Gpregs): Gpregs {
  return isRestarting(regs) ? { ...regs, ip: regs.ip - syscallLength, ax: regs.origAx } : regs;
}

/** struct user_regs_struct, 216 bytes. */
export function putUserRegs(b: ProgramBuilder, r: Gpregs): DataRef {
  return b.u8s(
    r.r15,
    r.r14,
    r.r13,
    r.r12,
    r.bp,
    r.bx,
    r.r11,
    r.r10,
    r.r9,
    r.r8,
    r.ax,
    r.cx,
    r.dx,
    r.si,
    r.di,
    r.origAx,
    r.ip,
    r.cs || 0x33n,
    r.flags,
    r.sp,
    r.ss || 0x2bn,
    r.fsBase,
    r.gsBase,
    r.ds,
    r.es,
    r.fs,
    r.gs,
  );
}

/**
 * An rt_sigframe behind its return address, for leaving without a tracer. Registers as rewoundRegisters gives them.
 * @returns where the stack pointer must be for rt_sigreturn
 */
export function putSignalFrame(b: ProgramBuilder, thread: ThreadRow, xstate: DataRef | undefined): DataRef {
  const r = rewoundRegisters(thread.regs);
  const ucFlags = 7; // FP_XSTATE, SIGCONTEXT_SS, STRICT_RESTORE_SS
  const selectors = (r.cs || 0x33n) | ((r.ss || 0x2bn) << 48n);
  return b.u8s(
    ucFlags,
    0,
    thread.altstackSp,
    thread.altstackFlags,
    thread.altstackSize,
    r.r8,
    r.r9,
    r.r10,
    r.r11,
    r.r12,
    r.r13,
    r.r14,
    r.r15,
    r.di,
    r.si,
    r.bp,
    r.bx,
    r.dx,
    r.ax,
    r.cx,
    r.sp,
    r.ip,
    r.flags,
    selectors,
    0,
    0,
    0,
    0,
    xstate ?? 0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    thread.sigMask,
    // siginfo: unused
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
  );
}
