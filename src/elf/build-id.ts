// SPDX-License-Identifier: Apache-2.0
/** NT_GNU_BUILD_ID of ELF images, in files and in memory. A file that is no ELF simply has none. */
import { iterateNotes } from "./notes.js";

const PT_NOTE = 4;
const NT_GNU_BUILD_ID = 3;
const headerLength = 64;
const programHeaderLength = 56;
const maximumHeaders = 128;
const maximumNotes = 1 << 16;

/** Reads `length` bytes at a file offset; undefined where there are fewer. */
export type ReadAt = (offset: bigint, length: number) => Uint8Array | undefined;

const none = new Uint8Array(0);

/** The build-id of a 64-bit little-endian ELF file; empty if there is none. */
export function elfBuildId(readAt: ReadAt, name: string): Uint8Array {
  return findBuildId(readAt, name)?.id ?? none;
}

/** A build-id, and where in the file its bytes are. */
export interface FoundBuildId {
  readonly id: Uint8Array;
  readonly offset: bigint;
}

/** The build-id of a 64-bit little-endian ELF file and its place; undefined if there is none. */
export function findBuildId(readAt: ReadAt, name: string): FoundBuildId | undefined {
  const head = readAt(0n, headerLength);
  if (!head) return undefined;
  const header = Buffer.from(head);
  if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined;
  const count = Math.min(header.readUInt16LE(56), maximumHeaders);
  if (header.readUInt16LE(54) !== programHeaderLength) return undefined;
  const raw = readAt(header.readBigUInt64LE(32), count * programHeaderLength);
  if (!raw) return undefined;
  const table = Buffer.from(raw);
  for (let index = 0; index < count; index++) {
    const at = index * programHeaderLength;
    const length = table.readBigUInt64LE(at + 32);
    if (table.readUInt32LE(at) !== PT_NOTE || length > BigInt(maximumNotes)) continue;
    const offset = table.readBigUInt64LE(at + 8);
    const notes = readAt(offset, Number(length));
    if (!notes) continue;
    try {
      for (const note of iterateNotes(notes, { source: name, base: offset })) {
        if (note.name === "GNU" && note.type === NT_GNU_BUILD_ID) return { id: Uint8Array.from(note.desc), offset: note.descOffset };
      }
    } catch {}
  }
  return undefined;
}

/** The vDSO lies in memory as in a file: offsets are addresses minus the base. */
export function imageBuildId(readMemoryAt: (address: bigint, length: number) => Uint8Array | undefined, base: bigint): Uint8Array {
  return elfBuildId((offset, length) => readMemoryAt(base + offset, length), "vdso");
}
