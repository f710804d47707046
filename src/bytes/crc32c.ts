// SPDX-License-Identifier: Apache-2.0
/** CRC-32C (Castagnoli), the checksum of images (SPEC 7.1), for where the native part of crimg is not built. */

const polynomial = 0x82f63b78;
let table: Uint32Array | undefined;

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let sum = byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? polynomial : 0);
    return sum >>> 0;
  });
}

/** The CRC of bytes behind others whose CRC is `before`. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  table ??= makeTable();
  let sum = ~before;
  for (let index = 0; index < bytes.length; index++) sum = (sum >>> 8) ^ (table[(sum ^ (bytes[index] ?? 0)) & 0xff] ?? 0);
  return ~sum >>> 0;
}

/** A CRC as images store it: never 0, which says that there is none. */
export function storedSum(crc: number): number {
  return crc || 0xffff_ffff;
}
