// SPDX-License-Identifier: Apache-2.0
/** The signal frame by which a thread leaves (SPEC 10, op sigreturn): `struct ucontext` of x86-64 and the extended state that it names. */
import assert from "node:assert/strict";
import type { Process } from "./process.js";

/** Registers in the order of `struct sigcontext` (arch/x86/include/uapi/asm/sigcontext.h). */
const order = "r8 r9 r10 r11 r12 r13 r14 r15 di si bp bx dx ax cx sp ip flags".split(" ");

export interface Frame {
  readonly registers: Readonly<Record<string, bigint>>;
  readonly mask: bigint;
}

/** Reads a frame, and looks at the marks of its extended state. */
export function readFrame(process: Process, at: bigint): Frame {
  const u8 = (address: bigint): bigint => {
    assert.ok(process.memory.has(address, 8), `the frame lies in the restore's memory, ${address.toString(16)}`);
    return process.memory.view.getBigUint64(process.memory.at(address), true);
  };
  const u4 = (address: bigint): bigint => u8(address) & 0xffff_ffffn;
  const registers = Object.fromEntries(order.map((name, index) => [name, u8(at + 40n + BigInt(8 * index))]));
  const state = u8(at + 40n + 184n);
  if (state !== 0n) {
    assert.equal(state % 64n, 0n, "extended state is aligned to 64 bytes");
    if (u4(state + 464n) !== 0n) {
      assert.equal(u4(state + 464n), 0x46505853n, "FP_XSTATE_MAGIC1");
      assert.equal(u4(state + u4(state + 480n)), 0x46505845n, "FP_XSTATE_MAGIC2");
    }
  }
  return { registers, mask: u8(at + 296n) };
}
