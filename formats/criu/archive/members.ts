// SPDX-License-Identifier: Apache-2.0
/** The members of an archive, or the files of a directory that was one: sizes, times, and the content of the small ones asked for. */
import { createReadStream, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { extract as tarExtract, type Header } from "tar-stream";
import type { Compression } from "./archive.js";
import type { Blob } from "./oci.js";
import { zstdStream } from "./zstd-stream.js";

export interface Member {
  /** Without "./" in front. */
  readonly name: string;
  readonly size: number;
  /** Milliseconds since 1970, as the member says. */
  readonly mtime: number | undefined;
  /** Its bytes, if it is one of those asked for. */
  readonly content?: Buffer;
}

/** Contents above this are not kept: the files that engines write have some kilobytes. */
const maxContent = 16 << 20;

/** @param wanted whose content is kept */
export async function membersOfArchive(
  { path, offset, length }: Blob,
  compression: Compression,
  wanted: (name: string) => boolean,
): Promise<Member[]> {
  const members: Member[] = [];
  const extractor = tarExtract();
  const take = async (header: Header, stream: AsyncIterable<unknown>): Promise<void> => {
    const name = header.name.replace(/^(\.\/)+/, "");
    const size = header.size ?? 0;
    const isKept = wanted(name) && size <= maxContent;
    const pieces: Buffer[] = [];
    for await (const piece of stream) if (isKept && piece instanceof Uint8Array) pieces.push(Buffer.from(piece));
    members.push({ name, size, mtime: header.mtime?.getTime(), ...(isKept ? { content: Buffer.concat(pieces) } : {}) });
  };
  extractor.on("entry", (header, stream, next) => {
    stream.on("error", () => undefined);
    take(header, stream).then(() => next(), next);
  });
  const source = createReadStream(path, { highWaterMark: 1 << 20, start: offset, end: offset + length - 1 });
  const unpack = compression === "gzip" ? createGunzip({ chunkSize: 1 << 18 }) : compression === "zstd" ? await zstdStream() : undefined;
  await (unpack ? pipeline(source, unpack, extractor) : pipeline(source, extractor));
  return members;
}

/** The same of a directory and the directories in it. */
export function membersOfDirectory(path: string, wanted: (name: string) => boolean): Member[] {
  const members: Member[] = [];
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const name = join(entry.parentPath, entry.name).slice(path.replace(/\/+$/, "").length + 1);
    const { size, mtimeMs } = statSync(join(path, name));
    const isKept = wanted(name) && size <= maxContent;
    members.push({ name, size, mtime: mtimeMs, ...(isKept ? { content: readFileSync(join(path, name)) } : {}) });
  }
  return members;
}
