// SPDX-License-Identifier: Apache-2.0
/**
 * The mm fields of an image that cannot be true, and the arguments of a process, which the format lacks.
 * The tool of 2011 read /proc/PID/stat naively: a name with ")" in it shifted every field behind it.
 */
import type { MmRow, ObjectRow, VmaRow } from "../gen/tables.js";

const lowestAddress = 0x10000n;
const userEnd = 1n << 47n;
const maxStackStrings = 1 << 20;

/** Whether the kernel would take these fields (PR_SET_MM_MAP: order within each pair, nothing below mmap_min_addr). */
export function isPlausible(mm: MmRow): boolean {
  const addresses = [mm.startCode, mm.endCode, mm.startData, mm.endData, mm.startStack, mm.startBrk, mm.brk];
  return (
    addresses.every((address) => address >= lowestAddress && address < userEnd) &&
    mm.startCode < mm.endCode &&
    mm.startData <= mm.endData &&
    mm.startBrk <= mm.brk
  );
}

/**
 * Fields in place of implausible ones, from the areas: code and data of the first executable file mapping, the break
 * where the image has it, the stack pointer as the start of the stack.
 */
export function fieldsFromAreas(mm: MmRow, vmas: readonly VmaRow[], stackPointer: bigint): MmRow {
  const code =
    vmas.find((vma) => vma.kind === "file_private" && (vma.prot & 4) !== 0) ?? vmas.find((vma) => (vma.prot & 4) !== 0) ?? vmas[0];
  if (!code) return mm;
  const data = vmas.find((vma) => vma.start >= code.end && vma.object === code.object && (vma.prot & 2) !== 0) ?? code;
  const heap = vmas.find((vma) => vma.isHeap);
  const hasBreak = mm.brk >= lowestAddress && mm.brk < userEnd;
  return {
    ...mm,
    startCode: code.start,
    endCode: code.end,
    startData: data.start,
    endData: data.end,
    startStack: stackPointer >= lowestAddress && stackPointer < userEnd ? stackPointer : code.start,
    startBrk: heap?.start ?? (hasBreak ? mm.brk : data.end),
    brk: hasBreak ? mm.brk : (heap?.end ?? data.end),
  };
}

/** The object that the program's code is mapped from: /proc/PID/exe. */
export function exeOf(mm: MmRow, vmas: readonly VmaRow[], objects: readonly ObjectRow[]): number | null {
  const code = vmas.find((vma) => vma.start <= mm.startCode && mm.startCode < vma.end);
  const object = code?.object ?? null;
  return object !== null && objects[object]?.kind === "file" && objects[object].path !== "" ? object : null;
}

/** Reads bytes of a process, or undefined where they are not stored. */
export type ReadMemory = (address: bigint, length: number) => Uint8Array | undefined;

/**
 * Where arguments, environment and auxiliary vector are: start_stack points at argc, then argv, envp and auxv follow.
 * Fields are left 0 where the stack does not hold them (a program may use its stack otherwise).
 */
export function argumentsFromStack(mm: MmRow, read: ReadMemory): MmRow {
  const word = (address: bigint): bigint | undefined => {
    const bytes = read(address, 8);
    return bytes && new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  };
  const argc = word(mm.startStack);
  if (argc === undefined || argc < 1n || argc > 65536n) return mm;
  const argStart = word(mm.startStack + 8n);
  let at = mm.startStack + 8n * (argc + 1n);
  if (argStart === undefined || word(at) !== 0n || !isString(argStart)) return mm;
  at += 8n;
  const envStart = word(at);
  let last = 0n;
  for (let count = 0; count < maxStackStrings; count++) {
    const pointer = word(at);
    at += 8n;
    if (pointer === undefined) return mm;
    if (pointer === 0n) break;
    last = pointer;
  }
  const auxv = auxvAt(at, word, read);
  const argEnd = last !== 0n && envStart !== undefined ? envStart : endOfString(word(mm.startStack + 8n * argc) ?? 0n, read);
  const envEnd = last !== 0n ? endOfString(last, read) : argEnd;
  if (auxv === undefined || argEnd === undefined || envEnd === undefined || argEnd <= argStart || envEnd < argEnd) return mm;
  return { ...mm, argStart, argEnd, envStart: argEnd, envEnd, auxv };

  function isString(address: bigint): boolean {
    return address > mm.startStack && address < userEnd;
  }
}

/** The auxiliary vector up to AT_NULL, as /proc/PID/auxv shows it. */
function auxvAt(start: bigint, word: (address: bigint) => bigint | undefined, read: ReadMemory): Uint8Array | undefined {
  for (let entries = 0; entries < 64; entries++) {
    const type = word(start + BigInt(entries) * 16n);
    if (type === undefined) return undefined;
    if (type === 0n) return read(start, (entries + 1) * 16)?.slice();
  }
  return undefined;
}

function endOfString(start: bigint, read: ReadMemory): bigint | undefined {
  for (let at = start; at - start < 1n << 20n; ) {
    const left = 4096n - (at % 4096n);
    const bytes = read(at, Number(left));
    if (!bytes) return undefined;
    const end = bytes.indexOf(0);
    if (end >= 0) return at + BigInt(end) + 1n;
    at += left;
  }
  return undefined;
}
