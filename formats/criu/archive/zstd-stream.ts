// SPDX-License-Identifier: Apache-2.0
import { Transform, type TransformCallback } from "node:stream";
import { ZstdDecoder } from "../../../src/bytes/zstd.js";

/** A stream around the decoder. It works synchronously, piece by piece, so that its output stays small. */
export async function zstdStream(): Promise<Transform> {
  const decoder = await ZstdDecoder.create((piece) => {
    // The window is reused: what is handed on must not be.
    stream.push(Buffer.from(piece));
  });
  const tried = (done: TransformCallback, work: () => void): void => {
    try {
      work();
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const stream = new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) {
      tried(done, () => {
        for (let at = 0; at < chunk.length; at += 1 << 16) decoder.push(chunk.subarray(at, at + (1 << 16)));
      });
    },
    flush(done: TransformCallback) {
      tried(done, () => decoder.end());
    },
  });
  return stream;
}
