// SPDX-License-Identifier: Apache-2.0
/** Frames of compressed stored bytes (SPEC 7.2). Offsets of extents and chunks count as if nothing were compressed. */

/** Bytes that are compressed together, or (if `stored` is `length`) not at all. */
export interface StoredFrame {
  /** Where its content begins, counted as if nothing were compressed. */
  readonly offset: number;
  readonly length: number;
  /** Where it is in the file, and its bytes there. */
  readonly fileOffset: number;
  readonly stored: number;
}

/** Most bytes of the content of a frame. */
export const maxFrame = 1 << 18;

/** Where the last content ends. */
export function endOfFrames(frames: readonly StoredFrame[]): number {
  const last = frames.at(-1);
  return last === undefined ? 0 : last.offset + last.length;
}

/** Index of the first frame that ends behind an offset. */
export function frameBehind(frames: readonly StoredFrame[], offset: number): number {
  let [low, high] = [0, frames.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { offset: start, length } = frames[middle] as StoredFrame;
    if (start + length > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}
