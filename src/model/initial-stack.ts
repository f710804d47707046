// SPDX-License-Identifier: Apache-2.0
/**
 * start_stack, the command line and the environment from the stack itself. The kernel builds it, upwards, as: argc,
 * argv pointers, 0, envp pointers, 0, auxv, …, argument strings, environment strings, name of the executable, 0
 * (fs/binfmt_elf.c: create_elf_tables; fs/exec.c: bprm_execve).
 */
import { auxType } from "./auxv.js";

/** Reads memory of the process; undefined where the core does not hold it. */
export type ReadMemory = (address: bigint, length: number) => Uint8Array | undefined;

export interface StackFacts {
  readonly startStack: bigint;
  readonly argStart: bigint;
  readonly argEnd: bigint;
  readonly envStart: bigint;
  readonly envEnd: bigint;
}

/** Strings and pointers of a stack: the kernel allows them a quarter of the stack limit, at most 6 MiB. */
const maxSearchBytes = 8 << 20;
const chunkBytes = 1 << 20;
/** Twice what Linux 6.18 writes. */
const maxAuxvBytes = 1024;

/** @returns undefined if the auxiliary vector is not found in [start, end) */
export function deriveStack(
  read: ReadMemory,
  start: bigint,
  end: bigint,
  auxv: Uint8Array,
  aux: ReadonlyMap<bigint, bigint>,
): StackFacts | undefined {
  const auxvAddress = findFromTop(read, start, end, auxv);
  if (auxvAddress === undefined) return undefined;
  const pointer = (address: bigint): bigint | undefined => {
    const bytes = address >= start ? read(address, 8) : undefined;
    return bytes && new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  };
  // Downwards from auxv: 0, envp, 0, argv, argc. argc says where argv begins: it equals the pointers counted so far.
  let at = auxvAddress - 16n;
  let envStart: bigint | undefined;
  for (let value = pointer(at); value !== 0n; value = pointer((at -= 8n))) {
    if (value === undefined) return undefined;
    envStart = value;
  }
  let argStart: bigint | undefined;
  let count = 0n;
  at -= 8n;
  for (let value = pointer(at); value !== count; value = pointer((at -= 8n))) {
    if (value === undefined || auxvAddress - at > BigInt(maxSearchBytes)) return undefined;
    argStart = value;
    count++;
  }
  const execfn = aux.get(auxType.execfn);
  const envEnd = execfn !== undefined && execfn > start && execfn < end ? execfn : (envStart ?? argStart ?? 0n);
  const argEnd = envStart ?? envEnd;
  return { startStack: at, argStart: argStart ?? argEnd, argEnd, envStart: envStart ?? envEnd, envEnd };
}

/**
 * The auxiliary vector itself, where only one of its values is known: AT_SYSINFO_EHDR, the address of the vDSO.
 * @returns undefined if it is not found in [start, end)
 */
export function findAuxv(read: ReadMemory, start: bigint, end: bigint, vdso: bigint): Uint8Array | undefined {
  const entry = Buffer.alloc(16);
  entry.writeBigUInt64LE(auxType.sysinfoEhdr, 0);
  entry.writeBigUInt64LE(vdso, 8);
  const at = findFromTop(read, start, end, entry);
  if (at === undefined) return undefined;
  for (let length = 16; length <= maxAuxvBytes && at + BigInt(length) <= end; length += 16) {
    const bytes = read(at, length);
    if (!bytes) return undefined;
    // AT_NULL ends it. On x86-64 AT_SYSINFO_EHDR comes first (arch/x86/include/asm/elf.h: ARCH_DLINFO).
    if (Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readBigUInt64LE(length - 16) === auxType.null) return bytes;
  }
  return undefined;
}

/** The highest place in [start, end) where the bytes stand, at a multiple of 8. */
function findFromTop(read: ReadMemory, start: bigint, end: bigint, wanted: Uint8Array): bigint | undefined {
  if (wanted.length < 16) return undefined;
  const needle = Buffer.from(wanted);
  const floor = end - start > BigInt(maxSearchBytes) ? end - BigInt(maxSearchBytes) : start;
  for (let top = end; top > floor; top -= BigInt(chunkBytes)) {
    const bottom = top - BigInt(chunkBytes) > floor ? top - BigInt(chunkBytes) : floor;
    // A vector that lies across two chunks: each is read with the beginning of the one above it.
    const upper = top + BigInt(needle.length) < end ? top + BigInt(needle.length) : end;
    const bytes = read(bottom, Number(upper - bottom));
    if (!bytes) continue;
    const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let found = haystack.lastIndexOf(needle); found >= 0; found = found === 0 ? -1 : haystack.lastIndexOf(needle, found - 1)) {
      if (found % 8 === 0) return bottom + BigInt(found);
    }
  }
  return undefined;
}
