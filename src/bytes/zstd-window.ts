// SPDX-License-Identifier: Apache-2.0
/** How much memory a Zstandard frame asks for. Apart from the decoder, so that nobody loads that for this. */

/** Largest window accepted, bytes: what the zstd tool itself takes without being asked for more. */
export const maxZstdWindow = 128 * 1024 * 1024;

/** Window that a frame asks for, bytes (RFC 8878, 3.1.1.1); 0 for one that says its size instead. */
export function zstdWindow(head: Uint8Array): number {
  const isSingleSegment = ((head[4] ?? 0) & 0x20) !== 0;
  if (isSingleSegment) return 0;
  const descriptor = head[5] ?? 0;
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}
