// SPDX-License-Identifier: Apache-2.0
/**
 * Where, below the stack of a thread that stands still, a few bytes can be left that are of use only until it has gone on. Best is
 * a place beyond what a signal frame and its handler take. But stacks may be short, and lie side by side in one mapping: what
 * is that far below may be somebody else's. So it is used only where the stack is known to reach there; just below the red zone,
 * where the kernel would put a signal frame, is always its own.
 */
import { parseMaps } from "./maps-lines.js";
import { readMaps } from "./procfs.js";

/** Bytes below the stack pointer: far, and just below the red zone (System V ABI for AMD64, 3.2.2: 128 bytes). */
const [far, near] = [32_768n, 192n];
/** How long what maps said is believed: for the threads of one process, which are let go one after the other, milliseconds. */
const believedMs = 100;

let known: { readonly pid: number; readonly at: number; readonly starts: readonly Stack[] } | undefined;

interface Stack {
  readonly start: bigint;
  readonly end: bigint;
}

/** Mappings that are one stack each: the first thread's, and those that begin behind a guard, as C libraries make them. */
function stacksOf(pid: number): readonly Stack[] {
  if (known?.pid === pid && performance.now() - known.at < believedMs) return known.starts;
  const starts: Stack[] = [];
  let guardEnd = -1n;
  for (const { start, end, isReadable, isWritable, isExecutable, isShared, text } of parseMaps(readMaps(pid))) {
    if (isReadable && isWritable && (text === "[stack]" || (text === "" && start === guardEnd))) starts.push({ start, end });
    guardEnd = !isReadable && !isWritable && !isExecutable && !isShared && text === "" ? end : -1n;
  }
  known = { pid, at: performance.now(), starts };
  return starts;
}

/** Places to try in this order, multiples of 16. */
export function placesBelow(pid: number, sp: bigint): readonly bigint[] {
  const isRoomy = stacksOf(pid).some(({ start, end }) => start <= sp - far && sp <= end);
  return (isRoomy ? [far, near] : [near]).map((distance) => (sp - distance) & ~15n);
}

/** All places that `placesBelow` may ever have told. */
export function anyPlacesBelow(sp: bigint): readonly bigint[] {
  return [far, near].map((distance) => (sp - distance) & ~15n);
}
