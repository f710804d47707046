// SPDX-License-Identifier: Apache-2.0
/**
 * Pages that are stored in blocks, most of them compressed with LZ4. CRIU's development branch writes them since 2026 (its pull
 * request 2895, images/pagemap.proto); field 6 of a pagemap entry says how. Drafts of that change had other fields, which go-criu and
 * forks wrote: both forms are read. All else that an entry may say about its bytes is refused by name.
 */
import { copyByReading } from "../../../src/pages/copy-by-reading.js";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { decodeLz4Block } from "../../../src/bytes/lz4-block.js";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import type { ByteRange, PageSource } from "../../../src/model/page-source.js";
import { pageSize } from "./page-flags.js";

/** A field of a message that its schema does not have, as the decoder keeps it: `data` is the value without its tag. */
export interface UnknownField {
  readonly no: number;
  readonly wireType: WireType;
  readonly data: Uint8Array;
}

/** How the pages of an entry are stored. */
export interface PageBlocks {
  /** Bytes in the file, a block each: 0 for zeros, the block's own size for bytes as they are, else an LZ4 block. */
  readonly sizes: readonly number[];
  /** Bytes in the file in all; undefined if the entry does not say. */
  readonly total: bigint | undefined;
  readonly pagesPerBlock: number;
}

/** MAX_REGION_SIZE of CRIU, in pages. */
const maxPagesPerBlock = 1024;

/**
 * The blocks of an entry; undefined if its pages are stored as they are.
 * @param fields those that the schema of entries does not have
 * @throws Error with what the entry says that nobody here understands
 */
export function blocksOf(fields: readonly UnknownField[], numPages: bigint): PageBlocks | undefined {
  if (fields.length === 0) return undefined;
  const message = fields.find(({ no, wireType }) => no === 6 && wireType === WireType.LengthDelimited);
  const blocks = message === undefined ? fromDraft(fields) : fromMessage(message, fields);
  if (blocks.pagesPerBlock < 1 || blocks.pagesPerBlock > maxPagesPerBlock)
    throw new Error(`blocks of ${blocks.pagesPerBlock} pages; ${maxPagesPerBlock} are the most`);
  const wanted = (numPages + BigInt(blocks.pagesPerBlock) - 1n) / BigInt(blocks.pagesPerBlock);
  if (BigInt(blocks.sizes.length) !== wanted) throw new Error(`${blocks.sizes.length} blocks for ${numPages} pages, not ${wanted}`);
  const sum = blocks.sizes.reduce((total, size) => total + BigInt(size), 0n);
  if (blocks.total !== undefined && blocks.total !== sum) throw new Error(`blocks of ${sum} bytes, but ${blocks.total} in all`);
  return blocks;
}

/** A message `blocks` (or `regions`): sizes 1, packed; total 2; pages in a block 3. */
function fromMessage(message: UnknownField, fields: readonly UnknownField[]): PageBlocks {
  refuseOthers(fields, [6]);
  const reader = new BinaryReader(message.data);
  const end = reader.uint32() + reader.pos;
  const sizes: number[] = [];
  let total: bigint | undefined;
  let pagesPerBlock = 1;
  while (reader.pos < end) {
    const [no, wireType] = reader.tag();
    if (no === 1 && wireType === WireType.LengthDelimited) {
      const last = reader.uint32() + reader.pos;
      while (reader.pos < last) sizes.push(reader.uint32());
    } else if (no === 1 && wireType === WireType.Varint) sizes.push(reader.uint32());
    else if (no === 2 && wireType === WireType.Varint) total = BigInt(reader.uint64());
    else if (no === 3 && wireType === WireType.Varint) pagesPerBlock = reader.uint32();
    else throw new Error(`field 6.${no} of its entry is not known, and may change how its pages are read`);
  }
  return { sizes, total, pagesPerBlock };
}

/** Fields of the entry itself: sizes 6, not packed; total 7; pages in a region 8, 0 or absent: one. */
function fromDraft(fields: readonly UnknownField[]): PageBlocks {
  refuseOthers(fields, [6, 7, 8]);
  const values = (wanted: number): bigint[] =>
    fields.flatMap(({ no, wireType, data }) => {
      if (no !== wanted) return [];
      if (wireType !== WireType.Varint) throw new Error(`field ${no} of its entry has another form than is known`);
      return [BigInt(new BinaryReader(data).uint64())];
    });
  const region = Number(values(8).at(-1) ?? 0n);
  return { sizes: values(6).map(Number), total: values(7).at(-1), pagesPerBlock: region === 0 ? 1 : region };
}

function refuseOthers(fields: readonly UnknownField[], known: readonly number[]): void {
  const other = fields.find(({ no }) => !known.includes(no));
  if (other !== undefined) throw new Error(`field ${other.no} of its entry is not known, and may change how its pages are read`);
}

interface Block {
  /** Position in the source of the block's first byte. */
  readonly position: bigint;
  readonly length: number;
  readonly fileOffset: bigint;
  readonly stored: number;
}

/** The pages of all entries with blocks of a pages file, one after the other. Memory: one block, and 40 bytes for each. */
export class BlockPageSource implements PageSource {
  readonly #blocks: Block[] = [];
  #length = 0n;
  #current: { readonly block: Block; readonly bytes: Uint8Array } | undefined;

  constructor(
    readonly name: string,
    /** The pages file. It belongs to the checkpoint, too, and is closed with it. */
    private readonly file: PageSource,
  ) {}

  /**
   * Adds the pages of an entry whose bytes begin at `fileOffset`.
   * @returns the position of its first page here
   * @throws Error for a block that is larger than what it holds
   */
  add({ sizes, pagesPerBlock }: PageBlocks, numPages: bigint, fileOffset: bigint): bigint {
    const start = this.#length;
    const end = start + numPages * pageSize;
    const whole = BigInt(pagesPerBlock) * pageSize;
    let at = fileOffset;
    for (const stored of sizes) {
      const length = Number(end - this.#length < whole ? end - this.#length : whole);
      if (stored > length) throw new Error(`a block of ${stored} bytes, for ${length} bytes of pages`);
      this.#blocks.push({ position: this.#length, length, fileOffset: at, stored });
      at += BigInt(stored);
      this.#length += BigInt(length);
    }
    return start;
  }

  read(position: bigint, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const at = position + BigInt(done);
      const block = this.#blockAt(at);
      const bytes = this.#bytesOf(block);
      const from = Number(at - block.position);
      const count = Math.min(into.length - done, block.length - from);
      into.set(bytes.subarray(from, from + count), done);
      done += count;
    }
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    copyByReading(this, fd, fileOffset, ranges);
  }

  close(): void {
    this.#current = undefined;
  }

  #blockAt(position: bigint): Block {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { position: start, length } = this.#blocks[middle] as Block;
      if (start + BigInt(length) <= position) low = middle + 1;
      else high = middle;
    }
    const block = this.#blocks[low];
    if (block === undefined || position < 0n)
      throw new CrimgError("pages.short", `expected pages at ${position}, found ${this.#length} bytes in all`, { source: this.name });
    return block;
  }

  #bytesOf(block: Block): Uint8Array {
    if (this.#current?.block === block) return this.#current.bytes;
    const { length, stored, fileOffset } = block;
    let bytes = new Uint8Array(length);
    if (stored !== 0) {
      const raw = new Uint8Array(stored);
      this.file.read(fileOffset, raw);
      if (stored === length) bytes = raw;
      else this.#decode(raw, bytes, fileOffset);
    }
    this.#current = { block, bytes };
    return bytes;
  }

  #decode(raw: Uint8Array, bytes: Uint8Array, offset: bigint): void {
    let problem = "";
    try {
      const end = decodeLz4Block(raw, bytes);
      if (end !== bytes.length) problem = `it holds ${end} bytes, not ${bytes.length}`;
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    if (problem !== "") {
      throw new CrimgError("criu.block", `A compressed block of pages cannot be read: ${problem}.`, {
        source: this.name,
        offset,
        format: "criu",
        hint: "The file is damaged; take another copy of it.",
      });
    }
  }
}
