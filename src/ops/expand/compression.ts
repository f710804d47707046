// SPDX-License-Identifier: Apache-2.0
/** Compressed files by their first bytes, and streams of what is in them. */
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { createGunzip } from "node:zlib";
import { maxZstdWindow, zstdWindow } from "../../bytes/zstd-window.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { Lz4Decoder } from "./lz4.js";

type XzLibrary = typeof import("xz-decompress");

export type Compression = "gzip" | "zstd" | "lz4" | "xz";

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b, 8]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["lz4", [0x04, 0x22, 0x4d, 0x18]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]],
];

/** How a file is compressed; undefined if it is not, as far as its head tells. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  return magics.find(([, magic]) => magic.every((byte, index) => head[index] === byte))?.[0];
}

/** Small, since one piece may hold much: a megabyte of zstd can be gigabytes of zeros. */
const inputChunk = 1 << 16;

/**
 * Hands the content of a compressed file to `take`, piece by piece; a piece is only valid during the call. What `take` throws
 * ends the work. Memory: the window of the compression, at most 128 MiB for zstd.
 * @throws CrimgError `expand.damaged`, and what `take` throws
 */
export async function expand(
  path: string,
  name: string,
  compression: Compression,
  head: Uint8Array,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  const file = createReadStream(path, { highWaterMark: inputChunk });
  try {
    switch (compression) {
      case "gzip":
        for await (const piece of file.pipe(withErrorsOf(file, createGunzip({ chunkSize: 1 << 18 })))) take(piece as Uint8Array);
        return;
      case "zstd": {
        if (zstdWindow(head) > maxZstdWindow) {
          throw new CrimgError(
            "expand.window",
            `the zstd frame asks for a window of ${zstdWindow(head)} bytes; no more than ${maxZstdWindow} are accepted`,
            {
              source: name,
              hint: "zstd -d --long=31 expands it",
            },
          );
        }
        const { ZstdDecoder } = await import("../../bytes/zstd.js");
        const decoder = await ZstdDecoder.create(take);
        for await (const piece of file) decoder.push(piece as Uint8Array);
        decoder.end();
        return;
      }
      case "lz4": {
        const decoder = new Lz4Decoder(take);
        for await (const piece of file) decoder.push(piece as Uint8Array);
        decoder.end();
        return;
      }
      case "xz": {
        // A CommonJS module: its exports are the default one where Node loads it, and by name in the bundle.
        const library: Partial<XzLibrary> & { readonly default?: XzLibrary } = await import("xz-decompress");
        const { XzReadableStream } = library.default ?? (library as XzLibrary);
        const stream = new XzReadableStream(Readable.toWeb(file) as ConstructorParameters<typeof XzReadableStream>[0]);
        for await (const piece of stream as unknown as ReadableStream<Uint8Array>) take(piece);
      }
    }
  } catch (error) {
    if (error instanceof CrimgError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CrimgError("expand.damaged", `the file is ${compression}, but cannot be expanded: ${reason}`, {
      source: name,
      hint: `it is damaged or was cut off; ${compression} -t tells`,
      cause: error,
    });
  } finally {
    file.destroy();
  }
}

/** pipe() does not pass errors on. */
function withErrorsOf<Target extends NodeJS.WritableStream & { destroy(error?: Error): void }>(source: Readable, target: Target): Target {
  source.on("error", (error) => target.destroy(error));
  return target;
}
