// SPDX-License-Identifier: Apache-2.0
/** A gzip'd image as a file: decompressed in pieces into a nameless temporary file, whatever its size. */
import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, fstatSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { writeFully } from "../../src/pages/file-source.js";

/** Most that one input byte may become: deflate reaches 1032. A file that promises more is not gzip. */
const maxRatio = 1032n;
/** Zero pages are skipped, so that sparse memory stays sparse. */
const zeroPage = Buffer.alloc(4096);

/**
 * @param path a gzip file
 * @param maxBytes what the result may have at most
 * @returns a descriptor for reading; the file has no name and goes with it. Throws CrimgError `dmtcp.gzip`.
 */
export async function gunzipToTemporary(path: string, maxBytes: bigint): Promise<number> {
  const name = join(tmpdir(), `.crimg-${process.pid}-${randomBytes(8).toString("hex")}.tmp`);
  const fd = openSync(name, "wx+", 0o600);
  unlinkSync(name);
  let length = 0n;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        if (length + BigInt(chunk.length) > maxBytes) throw tooLarge(path, maxBytes);
        writeSparse(fd, chunk, length);
        length += BigInt(chunk.length);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  try {
    await pipeline(createReadStream(path), createGunzip({ chunkSize: 1 << 18 }), sink);
    if (length > 0n) {
      const { size } = fstatSync(fd, { bigint: true });
      // The last pages may have been zero: the length must be that of the data.
      if (size < length) writeFully(fd, Uint8Array.of(0), length - 1n);
    }
    return fd;
  } catch (cause) {
    closeSync(fd);
    if (cause instanceof CrimgError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CrimgError("dmtcp.gzip", `the image cannot be decompressed: ${reason}`, {
      source: path,
      format: "dmtcp",
      cause,
      hint: "the file was cut off or damaged",
    });
  }
}

/** The most that a gzip file of this size can hold. */
export function mostBytesOf(compressedSize: bigint): bigint {
  return compressedSize * maxRatio + 65536n;
}

function writeSparse(fd: number, chunk: Buffer, offset: bigint): void {
  let from = 0;
  for (let at = 0; at < chunk.length; at += zeroPage.length) {
    const isZero = chunk.length - at >= zeroPage.length && zeroPage.equals(chunk.subarray(at, at + zeroPage.length));
    if (!isZero) continue;
    if (at > from) writeFully(fd, chunk.subarray(from, at), offset + BigInt(from));
    from = at + zeroPage.length;
  }
  if (from < chunk.length) writeFully(fd, chunk.subarray(from), offset + BigInt(from));
}

function tooLarge(path: string, maxBytes: bigint): CrimgError {
  return new CrimgError("dmtcp.gzip", `the image decompresses to more than ${maxBytes} bytes`, { source: path, format: "dmtcp" });
}
