// SPDX-License-Identifier: Apache-2.0
/** Registers as ptrace and as a signal frame take them, and what becomes of an interrupted system call. */
import type { Gpregs } from "../gen/tables.js";
import type { DataRef } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

const restart = { sys: -512n, nointr: -513n, nohand: -514n, restartBlock: -516n } as const;

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
