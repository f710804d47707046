// SPDX-License-Identifier: Apache-2.0
/**
 * The signal frame by which a thread leaves (SPEC 10, ops sigreturn and leave): `struct ucontext` of x86-64 and the extended state
 * that it names.
 */
import assert from "node:assert/strict";
import type { Process } from "./process.js";

/** Registers in the order of `struct sigcontext` (arch/x86/include/uapi/asm/sigcontext.h). */
const order = "r8 r9 r10 r11 r12 r13 r14 r15 di si bp bx dx ax cx sp ip flags".split(" ");

export interface Frame {
  readonly registers: Readonly<Record<string, bigint>>;
  readonly mask: bigint;
}

/** Registers in the order of `struct user_regs_struct` (arch/x86/include/asm/user_64.h), as far as a frame has them. */
const userOrder = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di origAx ip cs flags sp ss".split(" ");

function reader(process: Process): (address: bigint) => bigint {
  return (address) => {
    assert.ok(process.memory.has(address, 8), `the frame lies in the restore's memory, ${address.toString(16)}`);
    return process.memory.view.getBigUint64(process.memory.at(address), true);
  };
}

/** What the op `leave` is given: its arguments. */
export function frameOf(process: Process, [regs = 0n, , mask = 0n, state = 0n, isAgain = 0n]: readonly bigint[]): Frame {
  const u8 = reader(process);
  const all = Object.fromEntries(userOrder.map((name, index) => [name, u8(regs + BigInt(8 * index))]));
  assertState(u8, state);
  const registers = Object.fromEntries(order.map((name) => [name, all[name] ?? 0n]));
  const restarted: Record<string, bigint> = isAgain === 0n ? {} : { ip: (all["ip"] ?? 0n) - 2n, ax: all["origAx"] ?? 0n };
  return { registers: { ...registers, ...restarted }, mask: u8(mask) };
}

/** Reads a frame, and looks at the marks of its extended state. */
export function readFrame(process: Process, at: bigint): Frame {
  const u8 = reader(process);
  const registers = Object.fromEntries(order.map((name, index) => [name, u8(at + 40n + BigInt(8 * index))]));
  const state = u8(at + 40n + 184n);
  assertState(u8, state);
  return { registers, mask: u8(at + 296n) };
}

function assertState(u8: (address: bigint) => bigint, state: bigint): void {
  const u4 = (address: bigint): bigint => u8(address) & 0xffff_ffffn;
  if (state === 0n) return;
  assert.equal(state % 64n, 0n, "extended state is aligned to 64 bytes");
  if (u4(state + 464n) === 0n) return;
  assert.equal(u4(state + 464n), 0x46505853n, "FP_XSTATE_MAGIC1");
  assert.equal(u4(state + u4(state + 480n)), 0x46505845n, "FP_XSTATE_MAGIC2");
}
