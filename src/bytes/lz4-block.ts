// SPDX-License-Identifier: Apache-2.0
/** LZ4 blocks (lz4_Block_format.md in the LZ4 repository). */

/**
 * Decodes one block to `output`, from `start` on; matches may reach back to bytes before `start`.
 * @returns where the content ends in the output
 * @throws Error for a block that is cut off, or points outside of the output
 */
export function decodeLz4Block(block: Uint8Array, output: Uint8Array, start = 0): number {
  let at = 0;
  let to = start;
  const length = (nibble: number): number => {
    let sum = nibble;
    if (nibble !== 15) return sum;
    for (;;) {
      const byte = block[at++];
      if (byte === undefined) throw new Error("a block is cut off");
      sum += byte;
      if (byte !== 255) return sum;
    }
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = length(token >> 4);
    if (at + literals > block.length || to + literals > output.length) throw new Error("a block has literals beyond its end");
    output.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    // The last sequence of a block is literals only.
    if (at === block.length) break;
    const distance = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    const match = length(token & 15) + 4;
    if (distance === 0 || distance > to || to + match > output.length) throw new Error("a match points outside");
    if (distance >= match) output.copyWithin(to, to - distance, to - distance + match);
    else for (let index = 0; index < match; index++) output[to + index] = output[to - distance + index] ?? 0;
    to += match;
  }
  return to;
}

/** Fills `to` with what a block holds. Returns false where it is damaged, or holds another number of bytes. */
export function inflateLz4(block: Uint8Array, to: Uint8Array): boolean {
  try {
    return decodeLz4Block(block, to) === to.length;
  } catch {
    return false;
  }
}
