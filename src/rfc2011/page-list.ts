// SPDX-License-Identifier: Apache-2.0
/**
 * The page_entry lists of 2011: {u64 va, 4096 bytes} one after the other, ended by an entry whose va is 0. Addresses
 * and bytes are interleaved, so a list is read as runs of adjacent pages, and a page source hides the interleaving.
 */
import { copyByReading } from "../pages/copy-by-reading.js";
import type { RandomBytes } from "../bytes/random-bytes.js";
import { CrimgError } from "../errors/crimg-error.js";
import { pageBytes, pageEntrySize } from "../gen/ckpt-elf-v1.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { writeFully } from "../pages/file-source.js";

/** First address behind user space: no page of a process is there. */
const userEnd = 1n << 47n;
const pageSize = BigInt(pageBytes);
const entrySize = BigInt(pageEntrySize);

/** Pages at adjacent addresses that stand next to each other in a list. */
export interface PageRun {
  /** Address of the first page. */
  readonly va: bigint;
  /** Bytes, a multiple of 4096. */
  readonly length: bigint;
  /** Position in an `InterleavedPages` of the list. */
  readonly position: bigint;
}

/** A list as stored in a file. */
export interface PageList {
  /** In the order of the file. */
  readonly runs: readonly PageRun[];
  /** Pages, without the end. */
  readonly count: number;
  /** File offset of the first byte behind the end of the list. */
  readonly endOffset: bigint;
}

/** Where a list is, for messages. */
export interface PageListPlace {
  readonly bytes: RandomBytes;
  /** File offset of the first entry. */
  readonly offset: bigint;
  /** File offset that the list must not pass. */
  readonly limit: bigint;
  readonly format: string;
  readonly path: string;
}

/**
 * Walks a list, reading the addresses only.
 * @throws CrimgError `pages.end` (no end in sight), `pages.address` (not a page of a process)
 */
export function readPageList(place: PageListPlace): PageList {
  const runs: { va: bigint; length: bigint; position: bigint }[] = [];
  let offset = place.offset;
  for (let count = 0; ; count++, offset += entrySize) {
    const at = { source: place.bytes.name, offset, path: `${place.path}[${count}]`, format: place.format };
    if (offset + entrySize > place.limit) {
      const message =
        `expected a page entry of ${pageEntrySize} bytes or the zero entry that ends the list, found ` + `${place.limit - offset} bytes`;
      throw new CrimgError("pages.end", message, { ...at, hint: "the file was cut off; was the disk full?" });
    }
    const va = addressAt(place.bytes, offset);
    if (va === 0n) return { runs, count, endOffset: offset + entrySize };
    if (va % pageSize !== 0n || va >= userEnd) {
      const message = `the address of a page must be a multiple of 4096 below 2^47, found 0x${va.toString(16)}`;
      throw new CrimgError("pages.address", message, { ...at, path: `${at.path}.va` });
    }
    const last = runs[runs.length - 1];
    if (last && last.va + last.length === va) last.length += pageSize;
    else runs.push({ va, length: pageSize, position: BigInt(count) * pageSize });
  }
}

function addressAt(bytes: RandomBytes, offset: bigint): bigint {
  const head = bytes.read(offset, 8);
  return new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
}

/** Pages copied at once: one mebibyte, a compromise between calls and memory. */
const piecePages = 256;
/** The buffer of all copies: they run one after the other. */
let buffer: Uint8Array<ArrayBuffer> | undefined;

function copyBuffer(): Uint8Array<ArrayBuffer> {
  return (buffer ??= new Uint8Array(piecePages * pageEntrySize));
}

/** The pages of a list as one run of bytes: position 4096 × n is the first byte of page n. */
export class InterleavedPages implements PageSource {
  /**
   * @param file the file that the list is in; closed with this source
   * @param offset file offset of the first entry
   */
  constructor(
    private readonly file: PageSource,
    private readonly offset: bigint,
  ) {}

  get name(): string {
    return this.file.name;
  }

  read(position: bigint, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const at = position + BigInt(done);
      const skip = Number(at % pageSize);
      const wanted = Math.min(into.length - done, piecePages * pageBytes - skip);
      const pages = Math.ceil((skip + wanted) / pageBytes);
      // The last entry is read only as far as it is wanted, so that nothing behind the list is touched.
      const raw = copyBuffer().subarray(0, (pages - 1) * pageEntrySize + 8 + (skip + wanted - (pages - 1) * pageBytes));
      this.file.read(this.offset + (at / pageSize) * entrySize, raw);
      for (let page = 0, from = skip, to = done; page < pages; page++) {
        const length = Math.min(pageBytes - from, done + wanted - to);
        const start = page * pageEntrySize + 8 + from;
        into.set(raw.subarray(start, start + length), to);
        to += length;
        from = 0;
      }
      done += wanted;
    }
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    copyByReading(this, fd, fileOffset, ranges);
  }

  close(): void {
    this.file.close();
  }
}

/** Pages to write: a run of addresses whose bytes are in a page source. */
export interface StoredRun {
  readonly va: bigint;
  /** Bytes, a multiple of 4096. */
  readonly length: bigint;
  readonly source: PageSource;
  /** Position of the first byte in the source. */
  readonly position: bigint;
}

/** Bytes of a list of `pages` pages, its end included. */
export function pageListBytes(pages: number): bigint {
  return (BigInt(pages) + 1n) * entrySize;
}

/** Number of pages in runs. */
export function countPages(runs: Iterable<{ readonly length: bigint }>): number {
  let bytes = 0n;
  for (const run of runs) bytes += run.length;
  return Number(bytes / pageSize);
}

/**
 * Writes a list with its end, a mebibyte at a time.
 * @returns file offset behind it
 */
export function writePageList(
  fd: number,
  offset: bigint,
  runs: Iterable<StoredRun>,
  onPages: (bytes: bigint) => void = () => undefined,
): bigint {
  // Not the shared buffers: the source that is read from may be using those.
  const raw = new Uint8Array(piecePages * pageEntrySize);
  const view = new DataView(raw.buffer);
  const plain = new Uint8Array(piecePages * pageBytes);
  let at = offset;
  for (const run of runs) {
    for (let done = 0n; done < run.length; ) {
      const left = Number((run.length - done) / pageSize);
      const pages = Math.min(left, piecePages);
      run.source.read(run.position + done, plain.subarray(0, pages * pageBytes));
      for (let page = 0; page < pages; page++) {
        view.setBigUint64(page * pageEntrySize, run.va + done + BigInt(page * pageBytes), true);
        raw.set(plain.subarray(page * pageBytes, (page + 1) * pageBytes), page * pageEntrySize + 8);
      }
      writeFully(fd, raw.subarray(0, pages * pageEntrySize), at);
      at += BigInt(pages * pageEntrySize);
      done += BigInt(pages * pageBytes);
      onPages(BigInt(pages * pageBytes));
    }
  }
  writeFully(fd, new Uint8Array(pageEntrySize), at);
  return at + entrySize;
}
