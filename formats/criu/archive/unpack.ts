// SPDX-License-Identifier: Apache-2.0
/** The members of an archive, one after the other. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { extract as tarExtract, type Header } from "tar-stream";
import type { Compression } from "./archive.js";
import type { Blob } from "./oci.js";
import { zstdStream } from "./zstd-stream.js";

/** The content of a member. */
export type Content = AsyncIterable<unknown>;

/** @param take is to read all of the content. What it throws ends the work */
export async function unpack(
  { path, offset, length }: Blob,
  compression: Compression,
  take: (header: Header, content: Content) => Promise<void>,
): Promise<void> {
  const extractor = tarExtract();
  extractor.on("entry", (header, stream, next) => {
    // What ends the archive early ends the member too; the pipeline reports it once.
    stream.on("error", () => undefined);
    take(header, stream).then(() => next(), next);
  });
  const source = createReadStream(path, { highWaterMark: 1 << 20, start: offset, end: offset + length - 1 });
  const expand = compression === "gzip" ? createGunzip({ chunkSize: 1 << 18 }) : compression === "zstd" ? await zstdStream() : undefined;
  await (expand ? pipeline(source, expand, extractor) : pipeline(source, extractor));
}
