// SPDX-License-Identifier: Apache-2.0
import { writeSync } from "node:fs";

const pauseMs = 5;

/**
 * Writes all of it to a stream, synchronously: a full pipe just waits, also one that somebody made non-blocking.
 * Returns false once the reader has gone away.
 */
export function writeAll(fd: number, bytes: Uint8Array): boolean {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") Atomics.wait(pause, 0, 0, pauseMs);
      else if (code === "EPIPE") return false;
      else throw error;
    }
  }
  return true;
}
