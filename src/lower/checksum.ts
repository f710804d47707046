// SPDX-License-Identifier: Apache-2.0
/** The checksum of a restore program: the interpreter looks at it before it does anything (native/interp/verify.h). */

/** program_header.checksum. */
export const checksumOffset = 156;

type Sum = (bytes: Uint8Array, sum: number) => number;
let native: Sum | undefined;

/** From here on sums are made by a function of the addon: the same, without a loop that is compiled first. */
export function sumNatively(by: Sum | undefined): void {
  native = by;
}

/**
 * Goes on with `sum` over little-endian u4s; bytes that make none are left out. Every step is a bijection of the sum
 * and of the word, so a change of one word is always told.
 */
export function checksum(bytes: Uint8Array, sum = 0): number {
  return (native ?? sumInScript)(bytes, sum);
}

/** The same without the addon. */
export function sumInScript(bytes: Uint8Array, sum: number): number {
  const words = littleEndianWords(bytes);
  const { length } = words;
  let result = sum;
  for (let index = 0; index < length; index++) {
    result = Math.imul(result ^ (words[index] as number), 0x9e3779b1);
    result ^= result >>> 15;
  }
  return result >>> 0;
}

/** Whole words: a view where they lie on a boundary (crimg runs on little-endian machines only), else a copy. */
function littleEndianWords(bytes: Uint8Array): Int32Array {
  const count = bytes.length >> 2;
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  return new Int32Array(bytes.slice(0, count * 4).buffer);
}

/**
 * Puts the right checksum into a program, and returns it; `codeChecksum` is that of the interpreter. `rest`: parts of whole
 * words that follow the first, where the program is not in one piece.
 */
export function putChecksum(program: Uint8Array, codeChecksum: number, rest: readonly Uint8Array[] = []): number {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  view.setUint32(checksumOffset, 0, true);
  let sum = checksum(program, codeChecksum);
  for (const part of rest) sum = checksum(part, sum);
  view.setUint32(checksumOffset, sum, true);
  return sum;
}
