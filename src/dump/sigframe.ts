// SPDX-License-Identifier: Apache-2.0
/**
 * Signal frames as the kernel lays them out for rt_sigreturn(2) on x86-64 (arch/x86/include/asm/sigframe.h,
 * uapi asm/sigcontext.h, asm/ucontext.h): what lets a thread return to its old state by itself.
 */
import { cpuid, type regOffset } from "../native/index.js";
import { getReg } from "./registers.js";

/** XSAVE components that need permission and grow the frame: AMX tile configuration and data. */
const dynamicFeatures = (1n << 17n) | (1n << 18n);

const FP_XSTATE_MAGIC1 = 0x46505853;
const FP_XSTATE_MAGIC2 = 0x46505845;

/** pretcode, ucontext and siginfo. */
const frameHeadLength = 8 + 304 + 128;

/** Offset of XCR0 in the area that NT_X86_XSTATE gives, and of sw_reserved in a signal frame. */
const softwareOffset = 464;

let sizeCache: { features: bigint; size: number } | undefined;

/** Length of the standard-form XSAVE area for the components of `features`, without the dynamic ones. */
export function xstateSize(features: bigint): number {
  if (sizeCache?.features === features) return sizeCache.size;
  let size = 576;
  for (let component = 2; component < 63; component++) {
    const bit = 1n << BigInt(component);
    if ((features & bit) === 0n || (dynamicFeatures & bit) !== 0n) continue;
    const [length, offset] = cpuid(0xd, component);
    size = Math.max(size, offset + length);
  }
  sizeCache = { features, size };
  return size;
}

/** The bytes that a frame for this xstate takes, alignment slack included. */
export function signalFrameLength(xstate: Buffer): number {
  return frameHeadLength + 64 + frameXstateLength(xstate) + 4;
}

function frameXstateLength(xstate: Buffer): number {
  return xstate.length < 576 ? 512 : Math.min(xstateSize(features(xstate)), xstate.length);
}

function features(xstate: Buffer): bigint {
  return xstate.readBigUInt64LE(softwareOffset) & ~dynamicFeatures;
}

export interface FrameState {
  /** user_regs_struct to return to. */
  readonly regs: Buffer;
  readonly sigmask: bigint;
  /** NT_X86_XSTATE. */
  readonly xstate: Buffer;
}

/**
 * The bytes of a frame at `address` (8 modulo 16 is not required: only the return path reads it). Its first word is
 * the address of code that calls rt_sigreturn. The alternate stack is left alone: an invalid ss_flags makes the
 * kernel skip it (restore_altstack squashes the error).
 */
export function buildSignalFrame(address: bigint, restorer: bigint, state: FrameState): Buffer {
  const { regs, xstate } = state;
  const fpAddress = (address + BigInt(frameHeadLength) + 63n) & ~63n;
  const fpOffset = Number(fpAddress - address);
  const fpLength = frameXstateLength(xstate);
  const frame = Buffer.alloc(fpOffset + fpLength + 4);
  frame.writeBigUInt64LE(restorer, 0);

  const context = 8;
  const machine = context + 40;
  fillContext(frame, 7n, regs, state.sigmask);

  frame.writeBigUInt64LE(fpAddress, machine + 184);
  xstate.copy(frame, fpOffset, 0, fpLength);
  if (fpLength > 512) {
    const software = fpOffset + softwareOffset;
    frame.fill(0, software, software + 48);
    frame.writeUInt32LE(FP_XSTATE_MAGIC1, software);
    frame.writeUInt32LE(fpLength + 4, software + 4);
    frame.writeBigUInt64LE(features(xstate), software + 8);
    frame.writeUInt32LE(fpLength, software + 16);
    // Bits of components that the frame does not hold would fault in XRSTOR.
    frame.writeBigUInt64LE(frame.readBigUInt64LE(fpOffset + 512) & features(xstate), fpOffset + 512);
    frame.writeUInt32LE(FP_XSTATE_MAGIC2, fpOffset + fpLength);
  } else {
    frame.writeBigUInt64LE(6n, context);
  }
  return frame;
}

const order: readonly (keyof typeof regOffset)[] = [
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "di",
  "si",
  "bp",
  "bx",
  "dx",
  "ax",
  "cx",
  "sp",
  "ip",
  "flags",
];

/** Everything but the floating point state. */
function fillContext(frame: Buffer, flags: bigint, regs: Buffer, sigmask: bigint): void {
  const context = 8;
  // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
  frame.writeBigUInt64LE(flags, context);
  frame.writeUInt32LE(0x10, context + 24);
  const machine = context + 40;
  order.forEach((name, index) => frame.writeBigUInt64LE(getReg(regs, name), machine + index * 8));
  frame.writeUInt16LE(Number(getReg(regs, "cs")), machine + 144);
  frame.writeUInt16LE(Number(getReg(regs, "gs")), machine + 146);
  frame.writeUInt16LE(Number(getReg(regs, "fs")), machine + 148);
  frame.writeUInt16LE(Number(getReg(regs, "ss")), machine + 150);
  frame.writeBigUInt64LE(sigmask, context + 296);
}

/** A frame without floating point state, for a thread that makes another call before it returns by a whole one. */
export function buildPlainFrame(restorer: bigint, regs: Buffer, sigmask: bigint): Buffer {
  const frame = Buffer.alloc(frameHeadLength);
  frame.writeBigUInt64LE(restorer, 0);
  fillContext(frame, 6n, regs, sigmask);
  return frame;
}
