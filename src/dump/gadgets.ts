// SPDX-License-Identifier: Apache-2.0
/**
 * Code already present in the target that injected calls run on: a `syscall` instruction followed by `ret` (the
 * vDSO has one), and a call of rt_sigreturn (every C library's signal restorer). Nothing is written to its text.
 */
import { tryReadMemory } from "../native/index.js";

/** A mapping as far as injection needs it. */
export interface MappedRange {
  readonly start: bigint;
  readonly end: bigint;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  readonly isExecutable: boolean;
  /** Its name, one character a byte. */
  readonly text: string;
}

export interface Gadgets {
  /** `syscall; ret`, or a bare `syscall` if `returns` is false. */
  readonly syscall: bigint;
  readonly returns: boolean;
  /** `mov $15, %eax; syscall`; 0n if the target has none. */
  readonly restorer: bigint;
}

const syscallRet = Buffer.from([0x0f, 0x05, 0xc3]);
const syscallOnly = Buffer.from([0x0f, 0x05]);
/** mov $15, %rax; syscall (glibc, musl) and mov $15, %eax; syscall (others). */
const restorers = [Buffer.from([0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]), Buffer.from([0xb8, 15, 0, 0, 0, 0x0f, 0x05])];

/** Bytes searched at once. */
const chunkLength = 1 << 18;
/** Text searched, bytes: large programs without a restorer in their C library are not read whole. */
const searchLimit = 96 << 20;

const chunk = Buffer.allocUnsafeSlow(chunkLength);

/** What is still looked for, and where it was found first. */
interface Wanted {
  readonly patterns: readonly Buffer[];
  found?: bigint;
}

/** Searches executable memory for all that is wanted; the chunks overlap by the longest pattern. */
function search(pid: number, range: MappedRange, wanted: readonly Wanted[], budget: { left: number }): void {
  for (let at = range.start; at < range.end && budget.left > 0; at += BigInt(chunkLength - 16)) {
    const length = Number(range.end - at < BigInt(chunkLength) ? range.end - at : BigInt(chunkLength));
    const got = tryReadMemory(pid, at, chunk.subarray(0, length));
    if (got <= 0) return;
    budget.left -= got;
    const bytes = chunk.subarray(0, got);
    for (const one of wanted) {
      if (one.found !== undefined) continue;
      for (const pattern of one.patterns) {
        const found = bytes.indexOf(pattern);
        if (found >= 0) one.found ??= at + BigInt(found);
      }
    }
    if (wanted.every((one) => one.found !== undefined)) return;
  }
}

function holds(pid: number, address: bigint, patterns: readonly Buffer[]): boolean {
  if (address === 0n) return false;
  const bytes = Buffer.alloc(9);
  const got = tryReadMemory(pid, address, bytes);
  return patterns.some((pattern) => got >= pattern.length && bytes.subarray(0, pattern.length).equals(pattern));
}

/**
 * Finds the gadgets of a process. `hint`: those of a relative, right for a forked child, checked before use.
 * Returns undefined if there is no `syscall` instruction at all in readable code.
 */
export function findGadgets(pid: number, ranges: readonly MappedRange[], hint?: Gadgets): Gadgets | undefined {
  const code = ranges.filter((range) => range.isExecutable && range.isReadable && range.text !== "[vsyscall]");
  const inCode = (address: bigint): boolean => code.some((range) => address >= range.start && address < range.end);
  if (hint?.returns && hint.restorer !== 0n && inCode(hint.syscall) && inCode(hint.restorer)) {
    if (holds(pid, hint.syscall, [syscallRet]) && holds(pid, hint.restorer, restorers)) return hint;
  }
  // The C library first: there the search is short.
  const rank = (range: MappedRange): number => (range.text === "[vdso]" ? 0 : /\/(libc|ld-|musl)[^/]*$/.test(range.text) ? 1 : 2);
  const ordered = [...code].sort((a, b) => rank(a) - rank(b));
  const returning: Wanted = { patterns: [syscallRet] };
  const restorer: Wanted = { patterns: restorers };
  const budget = { left: searchLimit };
  for (const range of ordered) {
    search(pid, range, [returning, restorer], budget);
    if (returning.found !== undefined && restorer.found !== undefined) break;
  }
  if (returning.found !== undefined) return { syscall: returning.found, returns: true, restorer: restorer.found ?? 0n };
  const bare: Wanted = { patterns: [syscallOnly] };
  for (const range of ordered) {
    if (bare.found === undefined) search(pid, range, [bare], { left: searchLimit });
  }
  return bare.found === undefined ? undefined : { syscall: bare.found, returns: false, restorer: 0n };
}
