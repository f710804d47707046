// SPDX-License-Identifier: Apache-2.0
/** Raw system calls and the error that a failed one becomes. */
import { CrimgError, type CrimgErrorFields } from "../errors/crimg-error.js";
import { addon, type RawArgument } from "./addon.js";
import { errnoMessage, errnoName } from "../linux/errno.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";
import { assertAskable } from "./stand-in.js";

/** A system call that failed. Callers that know the object concerned wrap it in an error with its name. */
export class SysError extends CrimgError {
  constructor(
    /** What was called, such as "ptrace(SEIZE)". */
    readonly call: string,
    /** Positive errno. */
    readonly errno: number,
    /** What it was called on, such as "process 4711"; may be empty. */
    subject = "",
    fields: CrimgErrorFields = {},
  ) {
    super(`system.${errnoName(errno)}`, `${subject}${subject ? ": " : ""}${call}: ${errnoMessage(errno)}`, fields);
  }
}

/** Runs a system call. Returns its result, or −errno; exact up to 2^53. */
export function tryCall(name: SyscallName, ...args: RawArgument[]): number {
  assertAskable(name, args);
  return addon().syscall(nr[name], ...args);
}

/** Runs a system call whose result may exceed 2^53 (addresses of the upper half, offsets). */
export function tryCallBig(name: SyscallName, ...args: RawArgument[]): bigint {
  return addon().syscallBig(nr[name], ...args);
}

/** True if a result is −errno. */
export function failed(result: number): boolean {
  return result < 0 && result >= -4095;
}

/** Runs a system call, repeating it on EINTR; throws SysError when it fails. */
export function call(name: SyscallName, ...args: RawArgument[]): number {
  for (;;) {
    const result = tryCall(name, ...args);
    if (!failed(result)) return result;
    if (result !== -4) throw new SysError(name, -result);
  }
}

/** Runs a call that returned −errno on failure through the same check, with a better name and subject. */
export function check(result: number, what: string, subject = ""): number {
  if (failed(result)) throw new SysError(what, -result, subject);
  return result;
}

/** A NUL-terminated string for the kernel. A NUL inside is a caller's bug. */
export function cString(text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text as string);
  if (bytes.includes(0)) throw new RangeError("cString: NUL inside");
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

/** The address of a buffer; valid while the buffer lives. */
export function addressOf(buffer: ArrayBufferView | ArrayBuffer): bigint {
  return addon().addressOf(buffer);
}

/** Test hook: the n-th native call from now on fails with `errno`; 0 switches it off. */
export function setFault(nth: number, errno: number): void {
  addon().setFault(nth, errno);
}

/** Test hook: native calls made so far. */
export function callCount(): number {
  return addon().callCount();
}

/** CPUID: eax, ebx, ecx, edx. */
export function cpuid(leaf: number, subleaf = 0): readonly [number, number, number, number] {
  const into = new Uint32Array(4);
  addon().cpuid(leaf, subleaf, into);
  return [into[0] ?? 0, into[1] ?? 0, into[2] ?? 0, into[3] ?? 0];
}
