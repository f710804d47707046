// SPDX-License-Identifier: Apache-2.0
/** How long the content of a compressed file may be: what an ELF file's headers promise, else a multiple of the compressed size. */
import { ByteReader } from "../../bytes/byte-reader.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { elfHeaderSize, pnXnum, programHeaderSize, readElfHeader, readProgramHeader, sectionHeaderSize } from "../../gen/elf64.js";

/** gzip cannot do better than 1,032; a core of zeros can, and is an ELF file. */
const maxRatio = 1100n;
const minBytes = 1n << 30n;
/** Behind the last byte that the headers name: section names, alignment. */
const slack = 16n << 20n;

/**
 * @param head the first bytes of the content
 * @param compressedSize bytes of the file
 * @returns bytes; undefined while more of the head is needed
 */
export function contentBound(head: Uint8Array, compressedSize: bigint): bigint | undefined {
  const other = compressedSize * maxRatio > minBytes ? compressedSize * maxRatio : minBytes;
  if (head.length < elfHeaderSize || Buffer.from(head.subarray(0, 5)).toString("latin1") !== "\x7fELF\x02") return other;
  try {
    const header = readElfHeader(new ByteReader(head));
    // The number of headers is in a section header at the end: no bound is known before that has been read.
    if (header.ePhnum === pnXnum || header.ePhentsize !== programHeaderSize) return other;
    const tableEnd = header.ePhoff + BigInt(header.ePhnum * programHeaderSize);
    if (tableEnd > BigInt(head.length)) return undefined;
    const reader = new ByteReader(head.subarray(Number(header.ePhoff), Number(tableEnd)));
    let end = header.eShoff + BigInt(header.eShnum * sectionHeaderSize);
    for (let index = 0; index < header.ePhnum; index++) {
      const { pOffset, pFilesz } = readProgramHeader(reader);
      if (pOffset + pFilesz > end) end = pOffset + pFilesz;
    }
    return end + slack;
  } catch (error) {
    if (error instanceof CrimgError) return other;
    throw error;
  }
}
