// SPDX-License-Identifier: Apache-2.0
/** The first bytes of a file that may be an archive. */
import { closeSync, readSync } from "node:fs";
import { openImage } from "../wire/image-reader.js";

const headSize = 64 * 1024;

export function headOf(path: string): Uint8Array {
  const fd = openImage(path, path, true);
  try {
    const head = new Uint8Array(headSize);
    return head.subarray(0, readSync(fd, head, 0, headSize, 0));
  } finally {
    closeSync(fd);
  }
}
