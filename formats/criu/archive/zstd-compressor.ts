// SPDX-License-Identifier: Apache-2.0
/** A Zstandard compressor as a stream: Node's own where it has one (22.15 and later), else frames of plain blocks (RFC 8878). */
import { Transform, type TransformCallback } from "node:stream";
import * as zlib from "node:zlib";

/** Bytes of a block: as many as one may have. */
const largestBlock = 128 * 1024;

export function zstdCompressor(): Transform {
  const { createZstdCompress } = zlib as { readonly createZstdCompress?: () => Transform };
  return createZstdCompress?.() ?? plainFrames();
}

/**
 * One frame with a window of 128 KiB and without a checksum. Blocks that repeat one byte are stored as such, so that pages of
 * zeros cost nothing; all others are as they are.
 */
function plainFrames(): Transform {
  let pending: Buffer = Buffer.alloc(0);
  // Magic; descriptor: no size, no checksum; window: 2^(10 + 7).
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3]);
  let isBegun = false;
  const emit = (stream: Transform, bytes: Buffer, isLast: boolean): void => {
    if (!isBegun) stream.push(head);
    isBegun = true;
    const [first = 0] = bytes;
    const isRun = bytes.length > 0 && bytes.equals(Buffer.alloc(bytes.length, first));
    const header = Buffer.alloc(3);
    header.writeUIntLE((isLast ? 1 : 0) | ((isRun ? 1 : 0) << 1) | (bytes.length << 3), 0, 3);
    stream.push(header);
    stream.push(isRun ? Buffer.of(first) : Buffer.from(bytes));
  };
  return new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      for (; pending.length > largestBlock; pending = pending.subarray(largestBlock)) emit(this, pending.subarray(0, largestBlock), false);
      pending = Buffer.from(pending);
      done();
    },
    flush(done: TransformCallback) {
      emit(this, pending, true);
      done();
    },
  });
}
