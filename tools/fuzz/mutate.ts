// SPDX-License-Identifier: Apache-2.0
/** Mutations that know where a format keeps its numbers: most hit metadata, at the sizes that fields have. */
import type { Random } from "./random.js";

/** A run of bytes of a file that is not page payload. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

const interesting: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  8n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0xfffn,
  0x1000n,
  0x1001n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0xfffffffen,
  0xffffffffn,
  0x100000000n,
  0x7ffffffff000n,
  0x800000000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xfffffffffffff000n,
  0xfffffffffffffffen,
  0xffffffffffffffffn,
];

function writeNumber(bytes: Buffer, offset: number, width: number, value: bigint): void {
  for (let index = 0; index < width && offset + index < bytes.length; index += 1) {
    bytes[offset + index] = Number((value >> BigInt(8 * index)) & 0xffn);
  }
}

function readNumber(bytes: Buffer, offset: number, width: number): bigint {
  let value = 0n;
  for (let index = width - 1; index >= 0; index -= 1) value = (value << 8n) | BigInt(bytes[offset + index] ?? 0);
  return value;
}

function place(random: Random, metadata: readonly Range[], size: number): number {
  if (metadata.length === 0 || random.chance(3)) return random.below(size);
  // Ranges with equal weight up to a point, so that a small header is hit as often as a long table.
  const range = random.pick(metadata);
  const length = Math.max(1, range.end - range.start);
  return range.start + (random.chance(40) ? random.below(Math.min(length, 512)) : random.below(length));
}

/** One change of the bytes; the result may have another length. `metadata` says where the numbers are. */
function change(bytes: Buffer, metadata: readonly Range[], random: Random): Buffer {
  if (bytes.length === 0) return Buffer.from([random.below(256)]);
  const offset = place(random, metadata, bytes.length);
  const width = random.pick([1, 2, 4, 4, 8, 8]);
  const aligned = random.chance(85) ? offset - (offset % width) : offset;
  switch (random.below(12)) {
    case 0:
      bytes[offset] = (bytes[offset] ?? 0) ^ (1 << random.below(8));
      return bytes;
    case 1:
      bytes[offset] = random.below(256);
      return bytes;
    case 2:
    case 3:
    case 4:
      writeNumber(bytes, aligned, width, random.pick(interesting));
      return bytes;
    case 5:
      writeNumber(bytes, aligned, width, BigInt(bytes.length) + BigInt(random.below(17) - 8));
      return bytes;
    case 6:
    case 7: {
      const step = BigInt(random.pick([1, 1, 8, 56, 64, 4096])) * (random.chance(50) ? 1n : -1n);
      writeNumber(bytes, aligned, width, readNumber(bytes, aligned, width) + step);
      return bytes;
    }
    case 8: {
      const from = place(random, metadata, bytes.length);
      const length = Math.min(random.pick([4, 8, 56, 64, 128]), bytes.length - Math.max(from, offset));
      bytes.copyWithin(offset, from, from + Math.max(0, length));
      return bytes;
    }
    case 9:
      bytes.fill(random.chance(50) ? 0 : 0xff, offset, Math.min(bytes.length, offset + random.pick([8, 64, 512])));
      return bytes;
    case 10:
      return bytes.subarray(0, random.chance(50) ? offset : Math.max(0, bytes.length - 1 - random.below(64)));
    default: {
      const length = random.pick([1, 4, 8, 64]);
      return random.chance(50)
        ? Buffer.concat([bytes.subarray(0, offset), bytes.subarray(Math.min(bytes.length, offset + length))])
        : Buffer.concat([bytes.subarray(0, offset), Buffer.alloc(length, random.below(256)), bytes.subarray(offset)]);
    }
  }
}

/** One to three changes of a copy. */
export function mutate(original: Buffer, metadata: readonly Range[], random: Random): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const count = random.chance(75) ? 1 : 2 + random.below(2);
  for (let index = 0; index < count; index += 1) bytes = change(bytes, metadata, random);
  return bytes;
}
