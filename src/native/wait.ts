// SPDX-License-Identifier: Apache-2.0
/** Waiting for tracees and children, always with a bound. */
import { addon } from "./addon.js";
import { tryCall } from "./sys.js";

export const waitOption = { NOHANG: 1, UNTRACED: 2, EXITED: 4, CONTINUED: 8, NOWAIT: 0x01000000, WALL: 0x40000000 } as const;

/** What wait4 said, decoded. */
export type WaitStatus =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: number; readonly coreDumped: boolean }
  /** A ptrace stop: `signal` has bit 7 set at a system call (TRACESYSGOOD), `event` is PTRACE_EVENT_* or 0. */
  | { readonly kind: "stopped"; readonly signal: number; readonly event: number }
  | { readonly kind: "continued" };

/** Decodes a wait status. */
export function decodeWaitStatus(status: number): WaitStatus {
  if (status === 0xffff) return { kind: "continued" };
  const low = status & 0x7f;
  if (low === 0) return { kind: "exited", code: (status >> 8) & 0xff };
  if (low === 0x7f) return { kind: "stopped", signal: (status >> 8) & 0xff, event: (status >> 16) & 0xffff };
  return { kind: "killed", signal: low, coreDumped: (status & 0x80) !== 0 };
}

const statusWord = new Int32Array(1);

/**
 * wait4 with a bound in milliseconds. Returns the pid and its status word, or −errno as pid (−110 ETIMEDOUT when
 * time is up). The caller needs __WALL for threads.
 */
export function waitTimeout(pid: number, options: number, milliseconds: number): { pid: number; status: number } {
  const result = addon().waitTimeout(pid, statusWord, options, milliseconds);
  return { pid: result, status: statusWord[0] ?? 0 };
}

/** wait4 that never blocks: pid 0 when nothing is there, −errno (−10 ECHILD) on failure. */
export function waitNow(pid: number, options: number): { pid: number; status: number } {
  const result = tryCall("wait4", pid, statusWord, options | waitOption.NOHANG, null);
  return { pid: result, status: statusWord[0] ?? 0 };
}
