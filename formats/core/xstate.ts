// SPDX-License-Identifier: Apache-2.0
/** NT_X86_XSTATE as debuggers expect it: as long as the enabled components need, in the standard form. */
import { endOf, intelLayout, xstateLayout } from "../../src/model/xstate-layout.js";

const amx = (1n << 17n) | (1n << 18n);
const avx = 1n << 2n;
const avx512 = 0xe0n;
const pkru = 1n << 9n;
const headerEnd = 576;

/**
 * @param xstate as in the model; may be cut behind the last component in use
 * @param xfeatures components that the CPU had enabled (XCR0); 0 if unknown
 * @returns undefined if there is no more than an FXSAVE area
 */
export function xstateForDebuggers(xstate: Uint8Array, xfeatures: bigint): Uint8Array | undefined {
  if (xstate.length < headerEnd) return undefined;
  const inUse = new DataView(xstate.buffer, xstate.byteOffset, xstate.length).getBigUint64(512, true);
  const known = new DataView(xstate.buffer, xstate.byteOffset, xstate.length).getBigUint64(464, true);
  const enabled = inGroups((known !== 0n ? known : xfeatures !== 0n ? xfeatures : inUse) | inUse | 3n);
  const shown = (inUse & amx) === 0n ? enabled & ~amx : enabled;
  // Bytes that are there stay, except unused AMX at the end.
  const area = new Uint8Array(lengthFor(xstate, shown));
  area.set(xstate.subarray(0, area.length));
  new DataView(area.buffer).setBigUint64(464, shown, true);
  return area;
}

/** Components that are enabled together or not at all (Intel SDM vol. 1, 13.3): debuggers know no other sets. */
function inGroups(features: bigint): bigint {
  const whole = (features & avx512) === 0n ? features : features | avx512 | avx;
  return (whole & amx) === 0n ? whole : whole | amx;
}

/**
 * gdb tells the layout by the length (i387_guess_xsave_layout), but it knows AMD's only with PKRU. Where a hypervisor
 * hides that, any gdb takes Intel's and warns of a section that is too small, unless the area is as long.
 */
function lengthFor(xstate: Uint8Array, shown: bigint): number {
  const length = endOf(xstateLayout(xstate, shown), shown);
  return (shown & pkru) === 0n ? Math.max(length, endOf(intelLayout, shown)) : length;
}
