// SPDX-License-Identifier: Apache-2.0
/** Registers of a stopped thread, and what becomes of an interrupted system call. */
import { type Gpregs, gpregs } from "../gen/x86-64-regs.js";
import { regOffset, syscallName } from "../native/index.js";

const fieldNames = Object.keys(regOffset) as (keyof typeof regOffset)[];

/** user_regs_struct to the model's registers. */
export function toGpregs(regs: Buffer): Gpregs {
  return gpregs(Object.fromEntries(fieldNames.map((name) => [name, regs.readBigUInt64LE(regOffset[name])])));
}

/** One register, unsigned. */
export function getReg(regs: Buffer, name: keyof typeof regOffset): bigint {
  return regs.readBigUInt64LE(regOffset[name]);
}

/** Sets one register; the value is taken modulo 2^64. */
export function setReg(regs: Buffer, name: keyof typeof regOffset, value: bigint): void {
  regs.writeBigUInt64LE(BigInt.asUintN(64, value), regOffset[name]);
}

const argumentRegisters = ["di", "si", "dx", "r10", "r8", "r9"] as const;

/** Sets the registers of a thread that is to make a system call at `at`, and no call that was interrupted. */
export function setSyscall(regs: Buffer, at: bigint, number: number, args: readonly (number | bigint)[]): void {
  setReg(regs, "ip", at);
  setReg(regs, "ax", BigInt(number));
  setReg(regs, "origAx", -1n);
  argumentRegisters.forEach((name, index) => setReg(regs, name, BigInt(args[index] ?? 0)));
}

/** Kernel-internal results: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK. */
const restartResults: ReadonlySet<bigint> = new Set([-512n, -513n, -514n, -516n]);

/** True if the thread was inside a system call when it stopped (orig_ax ≥ 0 as a signed number). */
export function inSyscall(regs: Buffer): boolean {
  return regs.readBigInt64LE(regOffset.origAx) >= 0n;
}

/** True if the kernel would restart the call by itself when the thread goes on without a signal. */
export function isRestarting(regs: Buffer): boolean {
  return inSyscall(regs) && restartResults.has(regs.readBigInt64LE(regOffset.ax));
}

/** Calls for which the kernel turns any stop into EINTR: attaching alone makes them fail (signal(7)). */
const eintrCalls: ReadonlySet<string> = new Set([
  "epoll_wait",
  "epoll_pwait",
  "epoll_pwait2",
  "rt_sigtimedwait",
  "semop",
  "semtimedop",
  "io_getevents",
  "io_pgetevents",
  "io_uring_enter",
  "read",
  "readv",
  "recvfrom",
  "recvmsg",
  "recvmmsg",
  "write",
  "writev",
  "sendto",
  "sendmsg",
  "sendmmsg",
  "accept",
  "accept4",
]);

/**
 * True if the stop made the call end with EINTR although no signal is there for the thread: the program would see
 * an error that nobody sent. `deliverable`: pending signals that are not blocked.
 */
export function isSpuriousEintr(regs: Buffer, deliverable: bigint): boolean {
  return (
    deliverable === 0n &&
    inSyscall(regs) &&
    regs.readBigInt64LE(regOffset.ax) === -4n &&
    eintrCalls.has(syscallName(Number(regs.readBigUInt64LE(regOffset.origAx))))
  );
}

/** True for what `rewound` makes: inside a call by orig_ax, with its number in ax. */
export function isAboutToCall(regs: Buffer): boolean {
  return inSyscall(regs) && getReg(regs, "ax") === getReg(regs, "origAx");
}

/** The registers with the call about to be made again: ip back on the syscall instruction, ax its number. */
export function rewound(regs: Buffer, number?: number): Buffer {
  const copy = Buffer.from(regs);
  setReg(copy, "ax", number === undefined ? getReg(regs, "origAx") : BigInt(number));
  setReg(copy, "ip", getReg(regs, "ip") - 2n);
  return copy;
}
