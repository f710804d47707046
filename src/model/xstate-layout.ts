// SPDX-License-Identifier: Apache-2.0
/**
 * Where the components of an XSAVE area in standard form are. Offsets come from CPUID leaf 0xD and differ between
 * makers: Intel leaves room for MPX, AMD (Zen 4 and later) has AVX-512 right behind AVX, and PKRU behind whatever there
 * is. A checkpoint does not name the CPU, but an area tells: in Intel's layout nothing but MPX is between 832 and 1088.
 */

import type { Tables } from "../gen/tables.js";
import { unlikeRows } from "./space-columns.js";

/** A component: its bytes in the area. */
export interface XstateComponent {
  readonly offset: number;
  readonly size: number;
}

/** By number of the component in XCR0. */
export type XstateLayout = ReadonlyMap<number, XstateComponent>;

const avxEnd = 832;
const fxsaveSize = 512;
const headerEnd = 576;
/** Where Linux's ptrace puts XCR0. */
const xcr0Offset = 464;

/** Intel SDM volume 1, 13.4 and 13.5; the same on every Intel CPU to date. */
export const intelLayout: XstateLayout = new Map([
  [2, { offset: 576, size: 256 }], // AVX
  [3, { offset: 960, size: 64 }], // MPX bounds
  [4, { offset: 1024, size: 64 }], // MPX configuration
  [5, { offset: 1088, size: 64 }], // AVX-512 masks
  [6, { offset: 1152, size: 512 }], // ZMM_Hi256
  [7, { offset: 1664, size: 1024 }], // Hi16_ZMM
  [9, { offset: 2688, size: 8 }], // PKRU
  [17, { offset: 2752, size: 64 }], // AMX tile configuration
  [18, { offset: 2816, size: 8192 }], // AMX tiles
]);

/** AMD with AVX-512. */
export const amdLayout: XstateLayout = new Map([
  [2, { offset: 576, size: 256 }],
  [5, { offset: 832, size: 64 }],
  [6, { offset: 896, size: 512 }],
  [7, { offset: 1408, size: 1024 }],
  [9, { offset: 2432, size: 8 }],
]);

/** AMD without. */
export const amdAvxLayout: XstateLayout = new Map([
  [2, { offset: 576, size: 256 }],
  [9, { offset: 832, size: 8 }],
]);

const avx512 = 0xe0n;
const onlyIntel = (3n << 3n) | (3n << 17n);
const hi16 = 1n << 7n;
const pkru = 1n << 9n;

/**
 * The layout of an area. `xfeatures` is XCR0 if the caller knows it better than the area. An area in which no component
 * tells is Intel's: in it there is nothing that could be misread.
 */
export function xstateLayout(xstate: Uint8Array, xfeatures = 0n): XstateLayout {
  if (xstate.length <= avxEnd) return intelLayout;
  const view = new DataView(xstate.buffer, xstate.byteOffset, xstate.length);
  const inUse = view.getBigUint64(fxsaveSize, true);
  const enabled = view.getBigUint64(xcr0Offset, true) | xfeatures | inUse;
  const amd = (enabled & avx512) !== 0n ? amdLayout : amdAvxLayout;
  if ((enabled & onlyIntel) !== 0n || xstate.length > endOf(amd, enabled)) return intelLayout;
  const gapIsUsed = xstate.subarray(avxEnd, 1088).some((byte) => byte !== 0);
  const key = amd.get(9)?.offset ?? 0;
  // Intel's Hi16_ZMM is where AMD's PKRU is.
  const keyIsUsed = (inUse & (pkru | hi16)) === pkru && xstate.subarray(key, key + 4).some((byte) => byte !== 0);
  return gapIsUsed || keyIsUsed ? amd : intelLayout;
}

/** Bytes up to the end of the last of the components in `features`. */
export function endOf(layout: XstateLayout, features: bigint): number {
  let end = headerEnd;
  for (const [number, { offset, size }] of layout) if (((features >> BigInt(number)) & 1n) !== 0n) end = Math.max(end, offset + size);
  return end;
}

/** Number of the component of protection keys. */
export const keysComponent = 9;
/** What the kernel gives every program: all keys but 0 may not be used (init_pkru, arch/x86/kernel/fpu). */
export const defaultKeys = 0x5555_5554;

/**
 * Whether a tree makes use of protection keys. One that does not has their default register on a processor with keys, and
 * misses nothing on one without.
 */
export function usesKeys({ checkpoint, threads, vmas, mms }: Pick<Tables, "checkpoint" | "threads" | "vmas" | "mms">): boolean {
  if (unlikeRows(vmas).some(({ pkey }) => pkey !== 0) || mms.some(({ pkeys }) => pkeys !== 0)) return true;
  return threads.some(({ xstate }) => {
    if (xstate.length < headerEnd) return false;
    const view = new DataView(xstate.buffer, xstate.byteOffset, xstate.length);
    if ((view.getBigUint64(fxsaveSize, true) & pkru) === 0n) return false;
    const offset = xstateLayout(xstate, checkpoint[0]?.xfeatures).get(keysComponent)?.offset ?? 0;
    return offset + 4 > xstate.length || view.getUint32(offset, true) !== defaultKeys;
  });
}
