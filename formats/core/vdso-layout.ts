// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel's own mappings. [vdso] is where AT_SYSINFO_EHDR points; [vvar] and [vvar_vclock] lie right below it.
 * gcore leaves them out, and ARCH_MAP_VDSO_64 needs their lowest address, so what is missing is taken from the
 * layout of the running kernel, if its vDSO has the same size and the addresses are free.
 */
import { readFileSync } from "node:fs";

/** One mapping, by distance from the start of [vdso]. */
interface KernelMapping {
  /** Without brackets. */
  readonly name: string;
  /** First address − start of [vdso]; ≤ 0. */
  readonly distance: bigint;
  readonly length: bigint;
}

/** [vvar], [vvar_vclock] and [vdso] of this process, ascending; empty if they cannot be told. */
export function ownVdsoLayout(): readonly KernelMapping[] {
  const found: { name: string; start: bigint; end: bigint }[] = [];
  let text: string;
  try {
    text = readFileSync("/proc/self/maps", "latin1");
  } catch {
    return [];
  }
  for (const [, from, to, name] of text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) .* \[(vvar|vvar_vclock|vdso)\]$/gm)) {
    found.push({ name: name ?? "", start: BigInt(`0x${from}`), end: BigInt(`0x${to}`) });
  }
  const vdso = found.find(({ name }) => name === "vdso");
  if (!vdso) return [];
  return found.map(({ name, start, end }) => ({ name, distance: start - vdso.start, length: end - start }));
}
