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

/** Names of a set, and those that engines put beside it. */
const telling = new RegExp(
  "(^|/)(checkpoint/?|" +
    "(inventory|pstree|core-\\d+|fdinfo-\\d+|cgroup|apparmor|ids-\\d+|fs-\\d+|files|ipcns-[a-z]+-\\d+)\\.img|" +
    "config\\.dump|spec\\.dump|criu\\.work|devshm-checkpoint\\.tar|rootfs-diff\\.tar|network\\.status|descriptors\\.json)$",
);

/** Reads bytes of the file; fewer at its end. */
export type ReadMore = (from: number, count: number) => Uint8Array;

/** So much of a compressed file is expanded to look for names, bytes: large archives of other things exist, too. */
const maxSearched = { zstd: 32 << 20, gzip: 4 << 20 };
const maxExpanded = 512 << 20;
const pieceBytes = 1 << 18;

/** True if the file is a tar with an image set in it, wherever its members stand. Looks at names only. */
export function looksLikeArchive(head: Uint8Array, more: ReadMore): boolean {
  const names = new TarNames();
  try {
    switch (compressionOf(head)) {
      case "none":
        // Content is passed over by seeking.
        for (let at = 0; !names.isDecided; ) {
          const header = more(at, blockSize);
          names.push(header);
          if (header.length < blockSize) break;
          at += blockSize + names.skip();
        }
        break;
      case "gzip": {
        const start = more(0, maxSearched.gzip);
        names.push(gunzipSync(start, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: maxExpanded }));
        break;
      }
      case "zstd": {
        if (zstdWindow(head) > maxZstdWindow) return false;
        const decompressor = new Decompress((piece) => names.push(piece));
        for (let at = 0; at < maxSearched.zstd && !names.isDecided && names.passed < maxExpanded; at += pieceBytes) {
          const piece = more(at, pieceBytes);
          if (piece.length === 0) break;
          decompressor.push(piece);
        }
        break;
      }
      default:
        return false;
    }
  } catch {
    // What came out before is enough to judge.
  }
  return names.hasSet;
}

/** Most members that are looked at. */
const maxMembers = 100_000;

/** Takes a tar stream in pieces, and looks at the names in it. */
class TarNames {
  hasSet = false;
  isDecided = false;
  /** Bytes taken. */
  passed = 0;
  #header = Buffer.alloc(0);
  #skip = 0;
  #members = 0;

  push(piece: Uint8Array): void {
    this.passed += piece.length;
    for (let at = 0; at < piece.length && !this.isDecided; ) {
      const passed = Math.min(this.#skip, piece.length - at);
      this.#skip -= passed;
      at += passed;
      const wanted = Math.min(blockSize - this.#header.length, piece.length - at);
      this.#header = Buffer.concat([this.#header, piece.subarray(at, at + wanted)]);
      at += wanted;
      if (this.#header.length === blockSize) this.#member();
    }
  }

  /** Bytes of content before the next header, which the caller passes over. */
  skip(): number {
    const bytes = this.#skip;
    this.#skip = 0;
    return bytes;
  }

  #member(): void {
    const header = this.#header;
    this.#header = Buffer.alloc(0);
    const name = header.toString("latin1", 0, 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(header.toString("latin1", 124, 136).replace(/\0.*$/s, "").trim() || "0", 8);
    const isOver = name === "" || !Number.isSafeInteger(size) || size < 0 || ++this.#members > maxMembers;
    this.hasSet = !isOver && telling.test(name);
    this.isDecided = isOver || this.hasSet;
    this.#skip = isOver ? 0 : Math.ceil(size / blockSize) * blockSize;
  }
}
