// SPDX-License-Identifier: Apache-2.0
/** The container of a minidump: its directory, and streams by kind. Every count and offset is held against the file. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { assertRange, type RandomBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { directoryEntrySize, headerSize, type Header, readDirectoryEntry, readHeader, signature, version } from "../../src/gen/minidump.js";

/** More kinds of streams than anybody writes; newer lldb writes one exception a thread. */
const maxStreams = 1 << 16;
/** Lists and texts; memory is never read as a stream. */
const maxStreamBytes = 1 << 26;

export interface Stream {
  readonly type: number;
  readonly offset: bigint;
  readonly length: number;
}

export class Streams {
  readonly header: Header;
  readonly #streams: readonly Stream[];

  /** Throws CrimgError `minidump.header`, `minidump.count`, `bytes.*`. */
  constructor(private readonly file: RandomBytes) {
    const place = { source: file.name, format: "minidump", path: "header" };
    assertRange(file.name, file.size, 0n, BigInt(headerSize), "header");
    this.header = readHeader(new ByteReader(file.read(0n, headerSize), place));
    if (this.header.signature !== signature || (this.header.version & 0xffff) !== version) {
      throw new CrimgError("minidump.header", "the file does not begin like a minidump", {
        ...place,
        offset: 0n,
        expected: "MDMP, version 0xa793",
      });
    }
    const { numStreams, ofsDirectory } = this.header;
    if (numStreams > maxStreams) {
      throw new CrimgError("minidump.count", `the directory has ${numStreams} entries; at most ${maxStreams} are read`, {
        ...place,
        offset: 8n,
      });
    }
    const length = numStreams * directoryEntrySize;
    assertRange(file.name, file.size, BigInt(ofsDirectory), BigInt(length), "directory");
    const reader = new ByteReader(file.read(BigInt(ofsDirectory), length), { ...place, base: BigInt(ofsDirectory), path: "directory" });
    this.#streams = Array.from({ length: numStreams }, (_, index) => {
      reader.enter("directory", index);
      const { streamType, lenData, ofsData } = readDirectoryEntry(reader);
      if (lenData > 0) assertRange(file.name, file.size, BigInt(ofsData), BigInt(lenData), `directory[${index}]`);
      return { type: streamType, offset: BigInt(ofsData), length: lenData };
    });
  }

  /** Readers over all streams of a kind, in the order of the directory. */
  all(type: number, path: string): ByteReader[] {
    return this.#streams
      .filter((stream) => stream.type === type && stream.length > 0)
      .map(({ offset, length }) => {
        if (length > maxStreamBytes) {
          throw new CrimgError("minidump.count", `the stream ${path} has ${length} bytes; at most ${maxStreamBytes} are read`, {
            source: this.file.name,
            format: "minidump",
            offset,
          });
        }
        return new ByteReader(this.file.read(offset, length), { source: this.file.name, format: "minidump", base: offset, path });
      });
  }

  /** The first of a kind, or undefined. */
  one(type: number, path: string): ByteReader | undefined {
    return this.all(type, path)[0];
  }

  /** The bytes of the first of a kind; empty if there is none. */
  bytes(type: number, path: string): Uint8Array {
    const reader = this.one(type, path);
    return reader ? reader.bytes(reader.remaining) : new Uint8Array(0);
  }
}
