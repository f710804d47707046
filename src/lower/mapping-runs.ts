// SPDX-License-Identifier: Apache-2.0
/**
 * Mappings that lie side by side and differ in little but their protection, of which a program may have tens of thousands
 * (guard pages, arenas, heaps of collectors): one mmap makes them all, and what is protected otherwise is cut out of it. The
 * kernel would have made one mapping of them before they were protected anyway.
 */
import type { DataRef } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";
import { MAP } from "./constants.js";
import type { VmaPlan } from "./vma-plan.js";

/** Plans of mappings that one mmap makes, ascending; a single one where it has no like beside it. */
export type MappingRun = readonly [VmaPlan, ...VmaPlan[]];

/** Groups plans (ascending) into runs. `isAlone` says which are not to be with others, for reasons of the caller's. */
export function runsOfPlans(plans: readonly VmaPlan[], isAlone: (plan: VmaPlan) => boolean): MappingRun[] {
  const runs: [VmaPlan, ...VmaPlan[]][] = [];
  let last: VmaPlan | undefined;
  for (const plan of plans) {
    const run = runs.at(-1);
    const mayJoin = canShareCall(plan) && !isAlone(plan);
    if (mayJoin && run !== undefined && last !== undefined && isAlike(last, plan)) run.push(plan);
    else runs.push([plan]);
    last = mayJoin ? plan : undefined;
  }
  return runs;
}

function canShareCall({ vma, source, mapFlags, isSeparate }: VmaPlan): boolean {
  return source === "mmap" && vma.kind === "anon_private" && vma.hugeShift === 0 && !isSeparate && (mapFlags & MAP.growsdown) === 0;
}

function isAlike(a: VmaPlan, b: VmaPlan): boolean {
  if (a.vma.end !== b.vma.start || a.mapFlags !== b.mapFlags || a.vma.name !== b.vma.name) return false;
  if (a.advice === b.advice) return true;
  return a.advice.length === b.advice.length && a.advice.every((advice, index) => advice === b.advice[index]);
}

/**
 * The protection that a run is made with. Writable memory is accounted from then on, whatever becomes of it: where some of
 * it is not, that which is becomes writable later.
 */
export function protAtBirth(run: MappingRun): number {
  const [{ loadProt }] = run;
  return run.every((plan) => plan.loadProt === loadProt) ? loadProt : 0;
}

/** Ops right behind the mmap of a run: protections for the time of loading. */
export function protectRun(b: ProgramBuilder, run: MappingRun): void {
  const birth = protAtBirth(run);
  protectAll(b, run, ({ loadProt }) => (loadProt === birth ? undefined : loadProt));
}

/** Ops that protect mappings as `protOf` says; undefined: not at all. One op for each protection. */
export function protectAll(b: ProgramBuilder, plans: readonly VmaPlan[], protOf: (plan: VmaPlan) => number | undefined): void {
  const byProt = new Map<number, bigint[]>();
  for (const plan of plans) {
    const prot = protOf(plan);
    if (prot === undefined) continue;
    let words = byProt.get(prot);
    if (words === undefined) byProt.set(prot, (words = []));
    // What touches is protected in one go.
    if (words.at(-1) === plan.vma.start) words[words.length - 1] = plan.vma.end;
    else words.push(plan.vma.start, plan.vma.end);
  }
  for (const [prot, words] of byProt) {
    const count = words.length / 2;
    const [first, last] = [words[0] ?? 0n, words.at(-1) ?? 0n];
    const where = `${first.toString(16)}-${last.toString(16)}`;
    b.op("protect", [ranges(b, words), count, prot], {
      expect: 0,
      message: count === 1 ? `protect ${where}` : `protect ${count} parts of ${where}`,
      hint: "there is not enough memory, or a limit (vm.max_map_count) is lower than at the dump",
    });
  }
}

/** Records `range`. */
function ranges(b: ProgramBuilder, words: readonly bigint[]): DataRef {
  return b.bytes(new Uint8Array(BigUint64Array.from(words).buffer));
}
