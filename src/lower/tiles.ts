// SPDX-License-Identifier: Apache-2.0
/**
 * AMX tiles. The kernel makes room for them in a thread's state only when the thread uses one for the first time, and
 * ptrace refuses tiles where there is no room. So each thread that has some runs four instructions before it is given its
 * registers: it sets up a tile, clears it, lets it go, and makes a system call at which the first process catches it.
 */
import { gpregs } from "../gen/tables.js";
import { nr } from "../linux/syscall-numbers.js";
import { PROT, pageSize } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { DataRef } from "./operands.js";
import { putUserRegs } from "./registers.js";

/** XTILEDATA in xstate_bv, which is at 512. */
const tileData = 1n << 18n;
const xstateBv = 512;

// ldtilecfg [rdi]; tilezero tmm0; tilerelease; syscall (Intel SDM volume 2)
const instructions = [0xc4, 0xe2, 0x78, 0x49, 0x07, 0xc4, 0xe2, 0x7b, 0x49, 0xc0, 0xc4, 0xe2, 0x78, 0x49, 0xc0, 0x0f, 0x05];
const user64 = { cs: 0x33n, ss: 0x2bn, flags: 0x202n };

/** Whether a thread has tiles. */
export function usesTiles(xstate: Uint8Array): boolean {
  if (xstate.length < xstateBv + 8) return false;
  return (new DataView(xstate.buffer, xstate.byteOffset).getBigUint64(xstateBv, true) & tileData) !== 0n;
}

/** What runs the four instructions. */
export interface TileCode {
  readonly code: DataRef;
  /** Registers to run it with. */
  readonly registers: DataRef;
}

/** Puts the code into the program's data; undefined if no thread has tiles. */
export function tileCode(l: Lowering): TileCode | undefined {
  if (!l.checkpoint.tables.threads.some(({ xstate }) => usesTiles(xstate))) return undefined;
  const b = l.builder;
  // Aligned, so that it lies in one page.
  const code = b.bytes(Uint8Array.from(instructions), 64);
  // Palette 1; tile 0 has a row of 64 bytes.
  const configuration = new Uint8Array(64);
  configuration[0] = 1;
  configuration[16] = 64;
  configuration[48] = 1;
  const registers = putUserRegs(b, gpregs({ ...user64, ax: BigInt(nr.getpid), origAx: 0xffff_ffff_ffff_ffffn }));
  b.pointer(registers.at(14 * 8), b.bytes(configuration, 64)); // di
  b.pointer(registers.at(16 * 8), code); // ip
  return { code, registers };
}

/** Ops of a process with tiles, while it may still make memory executable: the code's page is part of the hole. */
export function allowTileCode(l: Lowering, task: number): void {
  const tiles = l.tileCode;
  if (tiles === undefined || !l.checkpoint.threadsOf(task).some((index) => usesTiles(l.thread(index).xstate))) return;
  const b = l.builder;
  const page = b.slot("page of the code that uses a tile");
  b.compute(page, "and", tiles.code, BigInt.asUintN(64, -pageSize));
  b.syscall("mprotect", [page, pageSize, PROT.read | PROT.write | PROT.exec], { message: "make the code that uses a tile executable" });
}
