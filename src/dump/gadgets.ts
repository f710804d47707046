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
  readonly name: string;
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

const chunkLength = 1 << 20;
/** Text searched for a restorer, bytes: large programs without one in their C library are not read whole. */
const searchLimit = 96 << 20;

/** Searches executable memory; the chunks overlap by the longest pattern. */
function search(pid: number, range: MappedRange, patterns: readonly Buffer[], budget: { left: number }): bigint | undefined {
  const buffer = Buffer.allocUnsafe(chunkLength);
  for (let at = range.start; at < range.end && budget.left > 0; at += BigInt(chunkLength - 16)) {
    const length = Number(range.end - at < BigInt(chunkLength) ? range.end - at : BigInt(chunkLength));
    const got = tryReadMemory(pid, at, buffer.subarray(0, length));
    if (got <= 0) return undefined;
    budget.left -= got;
    for (const pattern of patterns) {
      const found = buffer.subarray(0, got).indexOf(pattern);
      if (found >= 0) return at + BigInt(found);
    }
  }
  return undefined;
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
  const code = ranges.filter((range) => range.isExecutable && range.isReadable && range.name !== "[vsyscall]");
  const inCode = (address: bigint): boolean => code.some((range) => address >= range.start && address < range.end);
  if (hint?.returns && hint.restorer !== 0n && inCode(hint.syscall) && inCode(hint.restorer)) {
    if (holds(pid, hint.syscall, [syscallRet]) && holds(pid, hint.restorer, restorers)) return hint;
  }
  // The C library first: there the search is short.
  const rank = (range: MappedRange): number =>
    range.name === "[vdso]" ? 0 : /\/(libc|ld-|musl)[^/]*$/.test(range.name) ? 1 : 2;
  const ordered = [...code].sort((a, b) => rank(a) - rank(b));
  const first = (patterns: readonly Buffer[]): bigint | undefined => {
    const budget = { left: searchLimit };
    for (const range of ordered) {
      const found = search(pid, range, patterns, budget);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const returning = first([syscallRet]);
  const syscall = returning ?? first([syscallOnly]);
  if (syscall === undefined) return undefined;
  return { syscall, returns: returning !== undefined, restorer: first(restorers) ?? 0n };
}
