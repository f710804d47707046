// SPDX-License-Identifier: Apache-2.0
/** The checksum of stored bytes, from its definition (SPEC 7.1), a bit at a time; slow, and like no other of this project. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = (rest & 1) === 1 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
  return rest;
});

/** CRC-32C of `bytes` as it is stored: 0 is written as all ones. */
export function storedSum(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (const byte of bytes) rest = (rest >>> 8) ^ (table[(rest ^ byte) & 0xff] ?? 0);
  return (rest ^ 0xffffffff) >>> 0 || 0xffffffff;
}
