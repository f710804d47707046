// SPDX-License-Identifier: Apache-2.0
/** fast-check arbitraries of the types that records are made of. */
import fc from "fast-check";
import { decodeText } from "../../src/bytes/text.js";

export const u1 = fc.integer({ min: 0, max: 0xff });
export const u2 = fc.integer({ min: 0, max: 0xffff });
export const u4 = fc.integer({ min: 0, max: 0xffff_ffff });
export const u8 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
export const s1 = fc.integer({ min: -0x80, max: 0x7f });
export const s2 = fc.integer({ min: -0x8000, max: 0x7fff });
export const s4 = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
export const s8 = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });

/** A row reference that may be none. */
export const optionalRow = fc.option(fc.integer({ min: 0, max: 0xffff_fffe }), { nil: null });

/** Bytes; long ones repeat a short random piece, since every byte drawn costs time. */
export function bytes(least: number, most: number): fc.Arbitrary<Uint8Array> {
  if (most <= 256) return fc.uint8Array({ minLength: least, maxLength: most });
  return fc.uint8Array({ minLength: 1, maxLength: 64 }).map((piece) => {
    return Uint8Array.from({ length: most }, (_none, index) => piece[index % piece.length] ?? 0);
  });
}

/** Text of at most so many bytes, without NUL, not always UTF-8. */
export function text(mostBytes: number): fc.Arbitrary<string> {
  const arbitrary = fc.uint8Array({ min: 1, max: 0xff, maxLength: mostBytes });
  const ascii = fc.uint8Array({ min: 0x20, max: 0x7e, maxLength: mostBytes });
  return fc.oneof(ascii, arbitrary).map(decodeText);
}

/** Text of any bytes, NUL included. */
export function anyText(leastBytes: number, mostBytes: number): fc.Arbitrary<string> {
  return fc.uint8Array({ minLength: leastBytes, maxLength: mostBytes }).map(decodeText);
}
