// SPDX-License-Identifier: Apache-2.0
/** What an ELF image in memory exports, by its dynamic symbol table (System V gABI, "Dynamic Section" and "Hash Table"). */
const programHeaderLength = 56;
const symbolLength = 24;
const maxSymbols = 4096;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT = { hash: 4n, strtab: 5n, symtab: 6n } as const;
const STT_FUNC = 2;

export interface DynamicFunction {
  readonly name: string;
  /** From the start of the image. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

/** Functions that an image of 64 bits, loaded from its first byte on, exports; undefined if it is none, or is cut off. */
export function dynamicFunctions(image: Uint8Array): readonly DynamicFunction[] | undefined {
  try {
    return read(Buffer.from(image.buffer, image.byteOffset, image.length));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function read(image: Buffer): readonly DynamicFunction[] | undefined {
  if (image.readUInt32BE(0) !== 0x7f454c46 || image[4] !== 2 || image[5] !== 1) return undefined;
  const headers = Number(image.readBigUInt64LE(32));
  let first: bigint | undefined;
  let dynamic: number | undefined;
  for (let index = 0; index < image.readUInt16LE(56); index++) {
    const at = headers + index * programHeaderLength;
    const type = image.readUInt32LE(at);
    if (type === PT_LOAD) first ??= image.readBigUInt64LE(at + 16);
    if (type === PT_DYNAMIC) dynamic = Number(image.readBigUInt64LE(at + 8));
  }
  if (first === undefined || dynamic === undefined) return undefined;
  const base = first;
  const tags = new Map<bigint, number>();
  for (let at = dynamic; image.readBigInt64LE(at) !== 0n; at += 16)
    tags.set(image.readBigInt64LE(at), place(image.readBigUInt64LE(at + 8)));
  const [hash, strings, symbols] = [tags.get(DT.hash), tags.get(DT.strtab), tags.get(DT.symtab)];
  if (strings === undefined || symbols === undefined) return undefined;
  // Linkers put the strings behind the symbols.
  const count = hash === undefined ? (strings - symbols) / symbolLength : image.readUInt32LE(hash + 4);
  const found: DynamicFunction[] = [];
  for (let index = 1; index < Math.min(count, maxSymbols); index++) {
    const at = symbols + index * symbolLength;
    const [nameAt, type, section] = [strings + image.readUInt32LE(at), image.readUInt8(at + 4) & 15, image.readUInt16LE(at + 6)];
    if (type !== STT_FUNC || section === 0) continue;
    const [offset, size] = [place(image.readBigUInt64LE(at + 8)), Number(image.readBigUInt64LE(at + 16))];
    const end = image.indexOf(0, nameAt);
    if (nameAt >= image.length || end < 0 || offset < 0 || offset + size > image.length) return undefined;
    found.push({ name: image.toString("latin1", nameAt, end), offset, size });
  }
  return found;

  function place(address: bigint): number {
    return Number(address - base);
  }
}
