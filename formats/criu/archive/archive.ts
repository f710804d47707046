// SPDX-License-Identifier: Apache-2.0
/** Archives of an image set as container engines write them: tar, plain or compressed with gzip or zstd. */
import { constants, gunzipSync } from "node:zlib";
import { Decompress } from "fzstd";
import { maxZstdWindow, zstdWindow } from "../../../src/bytes/zstd-window.js";

const blockSize = 512;

export type Compression = "none" | "gzip" | "zstd";

/** ustar or GNU tar: the magic of the first header. */
function isTar(head: Uint8Array): boolean {
  return head.length >= blockSize && Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
}

/** The compression of a file that may be an archive; undefined if it is none of these. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  if (isTar(head)) return "none";
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 8) return "gzip";
  if (head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd) return "zstd";
  return undefined;
}

/** The beginning of the tar stream, as far as the head of the file gives it. */
function tarHead(head: Uint8Array): Uint8Array {
  switch (compressionOf(head)) {
    case "none":
      return head;
    case "gzip":
      return gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 64 * 1024 * 1024 });
    case "zstd": {
      if (zstdWindow(head) > maxZstdWindow) return new Uint8Array(0);
      const pieces: Uint8Array[] = [];
      const decompressor = new Decompress((piece) => pieces.push(piece));
      try {
        decompressor.push(head);
      } catch {
        // What came out before is enough to judge.
      }
      return Buffer.concat(pieces);
    }
    default:
      return new Uint8Array(0);
  }
}

/** Names of a set, and those that engines put beside it. */
const telling = new RegExp(
  "(^|/)(checkpoint/?|" +
    "(inventory|pstree|core-\\d+|fdinfo-\\d+|cgroup|apparmor|ids-\\d+|fs-\\d+|files|ipcns-[a-z]+-\\d+)\\.img|" +
    "config\\.dump|spec\\.dump|criu\\.work)$",
);

/** True if the file begins like a tar with an image set in it. Looks at the names that the head shows. */
export function looksLikeArchive(head: Uint8Array): boolean {
  try {
    const bytes = tarHead(head);
    let at = 0;
    while (at + blockSize <= bytes.length) {
      const header = Buffer.from(bytes.buffer, bytes.byteOffset + at, blockSize);
      const name = header.toString("latin1", 0, 100).replace(/\0.*$/s, "");
      if (name === "") return false;
      if (telling.test(name)) return true;
      const size = Number.parseInt(header.toString("latin1", 124, 136).replace(/\0.*$/s, "").trim() || "0", 8);
      if (!Number.isSafeInteger(size) || size < 0) return false;
      at += blockSize + Math.ceil(size / blockSize) * blockSize;
    }
  } catch {
    return false;
  }
  return false;
}
