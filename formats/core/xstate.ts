/** NT_X86_XSTATE as debuggers expect it: as long as the enabled components need, in the standard form. */

/** Ends of the user components in the standard form of Intel CPUs, bytes (CPUID leaf 0xD). */
const componentEnds: readonly (readonly [bit: bigint, end: number])[] = [
  [2n, 832], // AVX
  [3n, 1024], // MPX bounds
  [4n, 1088], // MPX configuration
  [5n, 1152], // AVX-512 masks
  [6n, 1664], // ZMM_Hi256
  [7n, 2688], // Hi16_ZMM
  [9n, 2696], // PKRU
  [17n, 2816], // AMX tile configuration
  [18n, 11008], // AMX tiles
];
const amx = (1n << 17n) | (1n << 18n);
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
  const enabled = (known !== 0n ? known : xfeatures !== 0n ? xfeatures : inUse) | inUse | 3n;
  const shown = (inUse & amx) === 0n ? enabled & ~amx : enabled;
  let length = headerEnd;
  for (const [bit, end] of componentEnds) if ((shown & (1n << bit)) !== 0n) length = Math.max(length, end);
  // AMD places PKRU before the AVX-512 of Intel's layout; bytes that are there stay, except unused AMX at the end.
  const area = new Uint8Array(length);
  area.set(xstate.subarray(0, length));
  new DataView(area.buffer).setBigUint64(464, shown, true);
  return area;
}
