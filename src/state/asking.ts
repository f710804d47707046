// SPDX-License-Identifier: Apache-2.0
/**
 * What a state is read through while its thread stands still. The dump implements it over injected calls, ptrace and
 * /proc; tests over a table.
 */
import type { SyscallName } from "../linux/syscall-numbers.js";

/** An argument of a call in the thread: an integer, bytes to pass in, or room for bytes that come back. */
export type AskedArgument = number | bigint | { readonly in: Uint8Array } | { readonly out: Uint8Array };

export interface Asking {
  /**
   * Whether the thread's rights to protection keys (PKRU) are other than at first: each key that is allocated changes
   * them. Where a processor has none, pkey_alloc would waste the one key that there is.
   */
  readonly usesProtectionKeys: boolean;
  /** As crimg sees it. */
  readonly tid: number;
  /** `process 4711 (bash)`, for messages. */
  readonly name: string;
  /** A system call that the thread itself makes. Gives −errno on failure. */
  call(name: SyscallName, ...args: readonly AskedArgument[]): number;
  /** The same, for addresses. */
  callBig(name: SyscallName, ...args: readonly AskedArgument[]): bigint;
  /** Does some calls that change registers other than the general ones, and gives the registers back. */
  preservingRegisters<Result>(work: () => Result): Result;
  /** A system call that crimg makes about the thread. Gives −errno on failure. */
  outside(name: SyscallName, ...args: readonly (number | bigint | Uint8Array | null)[]): number;
  /** The text of a file in /proc/PID/task/TID, without its last newline; undefined if there is none. */
  file(name: string): Uint8Array | undefined;
  /** A line of /proc/PID/task/TID/status as it is now. */
  status(field: string): string | undefined;
  /** A field of /proc/PID/task/TID/stat, numbered as in proc_pid_stat(5). */
  stat(field: number): bigint;
}

/** prctl that gives its answer as result; 0 where the kernel does not know it. */
export function prctlResult(ask: Asking, option: number, ...args: readonly number[]): number {
  return Math.max(ask.call("prctl", option, ...args), 0);
}

/** prctl that stores its answer, a u8 (or less), where its second argument points; 0 where the kernel does not know it. */
export function prctlStored(ask: Asking, option: number): bigint {
  const out = Buffer.alloc(8);
  return ask.call("prctl", option, { out }) < 0 ? 0n : out.readBigUInt64LE();
}

/** A number in a file of /proc; 0 if there is none. */
export function fileNumber(ask: Asking, name: string, radix = 10): number {
  const bytes = ask.file(name);
  const number = bytes === undefined ? 0 : Number.parseInt(Buffer.from(bytes).toString("latin1"), radix);
  return Number.isNaN(number) ? 0 : number;
}
