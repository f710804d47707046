// SPDX-License-Identifier: Apache-2.0
/**
 * restart_syscall(2): a thread that had been stopped before in, say, nanosleep runs it, and its orig_ax no longer says
 * what is being restarted; the kernel's restart block cannot be read. The code that made the call still says it:
 * `mov $nr, %eax` shortly before the `syscall` instruction.
 */
import { nr, regOffset, tryReadMemory } from "../native/index.js";
import { getReg, isRestarting } from "./registers.js";

/** Calls that end with ERESTART_RESTARTBLOCK. */
const restartBlockCalls: ReadonlySet<number> = new Set([nr.poll, nr.nanosleep, nr.futex, nr.clock_nanosleep]);

/** Bytes of code looked at. */
const window = 64;

/** The number in the last `mov $nr, %eax` of some code, if it is that of a call with a restart block. */
export function restartedCall(code: Buffer): number | undefined {
  for (let at = code.length - 5; at >= 0; at--) {
    if (code[at] !== 0xb8) continue;
    const number = code.readUInt32LE(at + 1);
    if (restartBlockCalls.has(number)) return number;
  }
  return undefined;
}

/** The call that a thread goes on with, which stands just before a restart_syscall; undefined if it does not, or that is not told. */
export function numberGoneOnWith(pid: number, regs: Buffer): number | undefined {
  if (getReg(regs, "ax") !== BigInt(nr.restart_syscall)) return undefined;
  const code = Buffer.alloc(window + 2);
  const got = tryReadMemory(pid, getReg(regs, "ip") - BigInt(window), code);
  return got === code.length && code.readUInt16LE(window) === 0x050f ? restartedCall(code.subarray(0, window)) : undefined;
}

/** The call that a thread's restart_syscall continues; undefined if it is not in one, or the code does not tell. */
export function restartNumber(pid: number, regs: Buffer): number | undefined {
  if (!isRestarting(regs) || regs.readBigUInt64LE(regOffset.origAx) !== BigInt(nr.restart_syscall)) return undefined;
  const code = Buffer.alloc(window);
  // ip is behind the two bytes of `syscall`.
  const got = tryReadMemory(pid, getReg(regs, "ip") - 2n - BigInt(window), code);
  return got === window ? restartedCall(code) : undefined;
}

/** The call that a restart_syscall of a thread continues; −1 if it is in none. */
export function restartedBy({ pid, regs }: { readonly pid: number; readonly regs: Buffer }): number {
  return restartNumber(pid, regs) ?? numberGoneOnWith(pid, regs) ?? -1;
}
