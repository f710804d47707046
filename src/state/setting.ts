// SPDX-License-Identifier: Apache-2.0
/** What a state is set through: the lowering implements it over the program builder, tests over a list of calls. */
import type { SyscallName } from "../linux/syscall-numbers.js";

/** An argument of a call of the restore: a number, or bytes or text (NUL-terminated) that are passed by address. */
export type SettingArgument = number | bigint | string | Uint8Array | typeof threadId;

/** Stands for the id of the thread that the state is of. */
export const threadId = Symbol("thread id");

export interface SettingOptions {
  /** The action and its object: `set the timer slack`. */
  readonly message?: string;
  /** What to do if it fails. */
  readonly hint?: string;
  /** Whatever comes of it is right. */
  readonly mayFail?: true;
  /** With this errno the program goes on all the same, after `says` was printed. */
  readonly tolerates?: { readonly errno: number; readonly says?: string };
}

export interface Setting {
  /** `4711 (bash)`, for messages. */
  readonly taskName: string;
  /** Whether the thread is the first of its process. */
  readonly isLeader: boolean;
  /** A system call of the thread that the state is of. */
  call(name: SyscallName, args: readonly SettingArgument[], options?: SettingOptions): void;
  /** Writes a file in /proc/self (for states of a thread, /proc/thread-self). */
  file(name: string, value: string, options?: SettingOptions): void;
  /**
   * The same where the file is there and says something else. If it may not be written, `says` is printed, but not in
   * namespaces made for the resume, where it may look like another.
   */
  changeFile(name: string, value: string, says?: string): void;
}

/** Little-endian words of 8 bytes. */
export function words8(...values: readonly (number | bigint)[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8));
  return bytes;
}
