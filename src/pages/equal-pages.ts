// SPDX-License-Identifier: Apache-2.0
/**
 * `--dedup`: pages of processes that are equal byte for byte are stored once. Extents are cut so that a page which has been seen
 * before names the place of the first one; writers store what several extents name once (storage-plan.ts), and a resume reads
 * it for each. Pages are found by a checksum and compared.
 */
import type { ExtentRow } from "../gen/tables.js";
import { mostEqual } from "../model/shared-pages.js";
import { Checkpoint } from "../model/checkpoint.js";
import type { CopyWatch, PageSource } from "../model/page-source.js";
import { checksumOf } from "./checksum.js";

const pageLength = 4096;
const pageSize = BigInt(pageLength);
/** Bytes that are read at once. */
const chunkLength = 1 << 20;
/** Different pages that are remembered, 8 GiB of them in 40 MiB; what comes later is compared with these. */
const mostRemembered = 1 << 21;

/** Where a page is. */
interface Place {
  /** Index of its source. */
  readonly source: number;
  readonly position: bigint;
}

/** Finds the first page of each content. */
class SeenPages {
  readonly #mask: number;
  /** By place in the table: number of a page, from 1; 0: none. */
  readonly #slots: Uint32Array;
  readonly #sums: Uint32Array;
  readonly #sources: Uint32Array;
  readonly #positions: BigUint64Array;
  readonly #other = Buffer.allocUnsafeSlow(pageLength);
  #count = 0;

  constructor(
    private readonly sources: readonly (PageSource | undefined)[],
    pages: number,
  ) {
    const room = Math.min(Math.max(pages, 1), mostRemembered);
    const slots = 2 ** Math.ceil(Math.log2(room * 2));
    this.#mask = slots - 1;
    this.#slots = new Uint32Array(slots);
    this.#sums = new Uint32Array(room + 1);
    this.#sources = new Uint32Array(room + 1);
    this.#positions = new BigUint64Array(room + 1);
  }

  /** Where a page with these bytes was seen first, or undefined: then this one is remembered. */
  findOrAdd(page: Buffer, { source, position }: Place): Place | undefined {
    const sum = checksumOf(page);
    let at = sum & this.#mask;
    for (let number: number; (number = this.#slots[at] as number) !== 0; at = (at + 1) & this.#mask) {
      if (this.#sums[number] !== sum) continue;
      const known = { source: this.#sources[number] as number, position: this.#positions[number] as bigint };
      this.sources[known.source]?.read(known.position, this.#other);
      if (page.equals(this.#other)) return known;
    }
    if (this.#count + 1 < this.#positions.length) {
      const number = ++this.#count;
      this.#slots[at] = number;
      this.#sums[number] = sum;
      this.#sources[number] = source;
      this.#positions[number] = position;
    }
    return undefined;
  }
}

const zeros = Buffer.alloc(pageLength);

/** The same checkpoint, whose extents name equal pages of processes by one place. */
export async function withEqualPagesOnce(checkpoint: Checkpoint, watch: CopyWatch): Promise<Checkpoint> {
  const { tables, sources, unknownTables } = checkpoint;
  const pages = tables.extents.reduce((sum, { length }) => sum + Number(length / pageSize), 0);
  const seen = new SeenPages(sources, pages);
  const chunk = Buffer.allocUnsafeSlow(chunkLength);
  const extents: ExtentRow[] = [];
  let done = 0n;
  for (const extent of tables.extents) {
    const source = sources[extent.source];
    if (!isCut(extent) || source === undefined) {
      extents.push(extent);
      continue;
    }
    const cutter = new Cutter(extent, extents);
    for (let at = 0n; at < extent.length; at += BigInt(chunkLength)) {
      const left = extent.length - at;
      const bytes = chunk.subarray(0, left < BigInt(chunkLength) ? Number(left) : chunkLength);
      source.read(extent.fileOffset + at, bytes);
      for (let skip = 0; skip < bytes.length; skip += pageLength) {
        const page = bytes.subarray(skip, skip + pageLength);
        const place = { source: extent.source, position: extent.fileOffset + at + BigInt(skip) };
        // Zeros are not stored where memory is zero anyway: nothing must depend on their being there.
        cutter.add((page.equals(zeros) ? undefined : seen.findOrAdd(page, place)) ?? place);
      }
      done += BigInt(bytes.length);
      watch.onProgress?.(done);
      await new Promise((resolve) => setImmediate(resolve));
    }
    cutter.end();
  }
  return new Checkpoint({ tables: { ...tables, extents }, sources, unknownTables });
}

/** Only whole pages of processes: what belongs to a file or shared memory is there once already. */
function isCut({ ownerKind, fileOffset, address, length }: ExtentRow): boolean {
  return ownerKind === "mm" && (fileOffset | address | length) % pageSize === 0n;
}

/** Puts the pages of an extent together to as few extents as possible. */
class Cutter {
  #first: Place | undefined;
  #pages = 0n;
  #before = 0n;

  constructor(
    private readonly extent: ExtentRow,
    private readonly into: ExtentRow[],
  ) {}

  /** The next page is at that place. */
  add(place: Place): void {
    const first = this.#first;
    if (
      first !== undefined &&
      this.#mayGrow() &&
      first.source === place.source &&
      first.position + this.#pages * pageSize === place.position
    ) {
      this.#pages++;
      return;
    }
    this.end();
    this.#first = place;
    this.#pages = 1n;
  }

  /** A run of pages that others have is of limited length. */
  #mayGrow(): boolean {
    const isOwn = this.#first?.source === this.extent.source && this.#first.position === this.extent.fileOffset + this.#before;
    return isOwn || this.#pages * pageSize < mostEqual;
  }

  /** There are no more. */
  end(): void {
    if (this.#first === undefined) return;
    const { source, position } = this.#first;
    const length = this.#pages * pageSize;
    this.into.push({ ...this.extent, address: this.extent.address + this.#before, length, source, fileOffset: position });
    this.#before += length;
    this.#first = undefined;
  }
}
