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
  const head = readAt(0n, headerLength);
  if (!head) return none;
  const header = Buffer.from(head);
  if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return none;
  const count = Math.min(header.readUInt16LE(56), maximumHeaders);
  if (header.readUInt16LE(54) !== programHeaderLength) return none;
  const raw = readAt(header.readBigUInt64LE(32), count * programHeaderLength);
  if (!raw) return none;
  const table = Buffer.from(raw);
  for (let index = 0; index < count; index++) {
    const at = index * programHeaderLength;
    const length = table.readBigUInt64LE(at + 32);
    if (table.readUInt32LE(at) !== PT_NOTE || length > BigInt(maximumNotes)) continue;
    const notes = readAt(table.readBigUInt64LE(at + 8), Number(length));
    if (!notes) continue;
    try {
      for (const note of iterateNotes(notes, { source: name })) {
        if (note.name === "GNU" && note.type === NT_GNU_BUILD_ID) return Uint8Array.from(note.desc);
      }
    } catch {}
  }
  return none;
}

/** The vDSO lies in memory as in a file: offsets are addresses minus the base. */
export function imageBuildId(readMemoryAt: (address: bigint, length: number) => Uint8Array | undefined, base: bigint): Uint8Array {
  return elfBuildId((offset, length) => readMemoryAt(base + offset, length), "vdso");
}
