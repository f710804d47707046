// SPDX-License-Identifier: Apache-2.0
/** Checksums of stored bytes (SPEC 7.1): of buffers, and of chunks that are in a file. */
import { readSync } from "node:fs";
import { crc32c, storedSum } from "../bytes/crc32c.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { addon } from "../native/addon.js";
import { canCallDirectly } from "./kernel-copy.js";

/** CRC-32C of bytes behind others whose CRC is `before`: by the processor's instruction if the native part is built. */
export function crcOf(bytes: Uint8Array, before = 0): number {
  return canCallDirectly() ? addon().checksum(bytes, before) : crc32c(bytes, before);
}

/** The addon's function for the checksum of restore programs (src/lower/checksum.ts), if the native part is built. */
export function nativeProgramSum(): ((bytes: Uint8Array, sum: number) => number) | undefined {
  return canCallDirectly() ? (bytes, sum) => addon().programSum(bytes, sum) : undefined;
}

/** The checksum of bytes. */
export function checksumOf(bytes: Uint8Array): number {
  return storedSum(crcOf(bytes));
}

let buffer: Uint8Array | undefined;

/** What a file holds at a place; what it does not reach is zero. The result is overwritten by the next call. */
function bytesAt(fd: number, offset: number, length: number): Uint8Array {
  if (buffer === undefined || buffer.length < length) buffer = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = readSync(fd, buffer, done, length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  buffer.fill(0, done, length);
  return buffer.subarray(0, length);
}

/** The checksum that a chunk of a file has. */
export function sumInFile(fd: number, chunks: StoredChunks, index: number): number {
  return checksumOf(bytesAt(fd, chunks.offsets[index] ?? 0, chunks.lengths[index] ?? 0));
}
