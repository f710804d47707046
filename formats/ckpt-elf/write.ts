// SPDX-License-Identifier: Apache-2.0
/**
 * Model → executable image. The layout:
 *
 *   0                ELF header, program headers (page 0)
 *   0x1000           the interpreter; page 0 and it are the one PT_LOAD segment
 *   then             the helper, in images of programs that used a GPU (PT_CKPT_HELPER)
 *   then             stored pages, page-aligned, in the order of the extents (PT_CKPT_EXTENTS)
 *   then             tables (PT_CKPT_TABLES), restore program (PT_CKPT_PROGRAM), section names, section headers
 *
 * Pages come first, so that a dump can write them while the tree is frozen, and everything else when it knows all.
 */
import { ftruncateSync } from "node:fs";
import type { WriteOptions } from "../../src/adapter/format.js";
import { freeWhatCollectingLeft } from "../../src/adapter/free-memory.js";
import type { Output } from "../../src/adapter/output.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { imageHeader, StringTableWriter } from "../../src/elf/writing.js";
import {
  elfTypeValues,
  programHeader,
  programHeaderSize,
  sectionHeader,
  segmentTypeValues,
  writeElfHeader,
  writeProgramHeader,
  writeSectionHeader,
  type ProgramHeader,
  type SectionHeader,
} from "../../src/gen/elf64.js";
import type { ExtentRow, ParentRow } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { CopyEnd } from "../../src/model/page-source.js";
import { alignUp } from "../../src/lower/align.js";
import { AdoptedPages } from "../../src/pages/adopted-pages.js";
import { reserve } from "../../src/pages/reserve.js";
import type { RangeColumns, StoreRange } from "../../src/pages/store-pages.js";
import { placedColumns, planColumns, planStorage, storedParts, type StoragePlan, type StoredPart } from "../../src/pages/storage-plan.js";
import { lookAndSum, StoredRuns, storePages } from "../../src/pages/store-pages.js";
import { streamPages } from "../../src/pages/stream-pages.js";
import { writeFully } from "../../src/pages/file-source.js";
import { bundle } from "./bundle.js";
import { pageSize } from "./image-header.js";
import { type Helper, helperFor } from "./helper.js";
import { linkProgramOf } from "./link.js";
import { type Interpreter, readInterpreter } from "./interpreter.js";
import { extentOwnerValues } from "../../src/gen/tables.js";
import { extentRowSize } from "../../src/gen/ckpt-elf-v2.js";
import { type ExtentColumns, extentRowsOf } from "../../src/model/extent-columns.js";
import { noteRecords } from "../../src/elf/known-records.js";
import { EncodedTables, type TablesSegment } from "../../src/elf/write-tables.js";
import { cutExtent, offsetInChunk, StoredChunks } from "../../src/model/stored-chunks.js";
import { crcOf } from "../../src/pages/checksum.js";
import { storedSum } from "../../src/bytes/crc32c.js";
import { type ForeignSums, putProgramSums } from "../../src/lower/program-sums.js";
import type { StoredFrame } from "../../src/model/stored-frames.js";
import { putFrames } from "./frames.js";
import { openParent, type ParentImage } from "./parent-image.js";
import { putChunkSums, putSums } from "./sums.js";

const SHT = { null: 0, progbits: 1, strtab: 3, nobits: 8 } as const;
const SHF = { write: 1n, alloc: 2n, exec: 4n } as const;
const PF = { x: 1, w: 2, r: 4 } as const;

/** Writes an image into the output. Throws CrimgError `lower.*`, `pages.*`, `bundle.file`. */
export async function writeImage(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  if (options.bundle !== true) return writeWhole(checkpoint, output, options);
  const bundled = bundle(checkpoint);
  try {
    await writeWhole(bundled.checkpoint, output, options);
  } finally {
    bundled.close();
  }
}

/** Bytes from which the rest of the image is made while pages are stored, and perhaps once more when all is known. */
const worthGuess = 64n << 20n;

/** Bytes from which chunks are moved to where the page cache takes them as one block: 40 ms less in a GiB, for a read more at a resume. */
const worthMoving = 128n << 20n;

/** Stores what objects have, which the kernel copies at a resume, as it is, and then pages of memory, compressed. */
async function storeCompressed(
  { tables }: Checkpoint,
  fd: number,
  firstPage: number,
  { ranges, origins, total }: StoragePlan,
  options: WriteOptions,
): Promise<StoredRuns> {
  const isPlain = new Uint8Array(ranges.length);
  origins.forEach((origin, row) => {
    if (origin.kind === "own" && tables.extents[row]?.ownerKind === "object") isPlain.fill(1, origin.first, origin.end);
  });
  let before = 0n;
  const stored = async (wanted: number, start: number, isCompressed: boolean): Promise<{ runs: StoredRuns; rows: number[] }> => {
    const rows = [...ranges.keys()].filter((index) => isPlain[index] === wanted);
    const own = rows.map((index) => ranges[index] as StoreRange);
    const done = before;
    const runs = await storePages(fd, start, own, { isCompressed, onProgress: (bytes) => options.onProgress?.(done + bytes, total) });
    before += own.reduce((sum, { length }) => sum + length, 0n);
    return { runs, rows };
  };
  const plain = await stored(1, firstPage, false);
  const packed = await stored(0, plain.runs.end, true);
  return mergeRuns([plain, packed]);
}

/** The runs of several storings, in the order of the ranges. */
function mergeRuns(parts: readonly { readonly runs: StoredRuns; readonly rows: readonly number[] }[]): StoredRuns {
  const merged = new StoredRuns();
  const all = parts.flatMap(({ runs, rows }) => runs.range.map((range, index) => ({ runs, index, row: rows[range] ?? 0 })));
  all.sort((a, b) => a.row - b.row || (a.runs.skip[a.index] ?? 0) - (b.runs.skip[b.index] ?? 0));
  for (const { runs, index, row } of all) {
    merged.range.push(row);
    merged.skip.push(runs.skip[index] ?? 0);
    merged.length.push(runs.length[index] ?? 0);
    merged.offset.push(runs.offset[index] ?? 0);
  }
  for (const { runs } of parts) {
    for (const sum of runs.sums) merged.sums.push(sum);
    if (runs.frames !== undefined) [merged.frames, merged.endOfFrames] = [runs.frames, runs.endOfFrames];
    merged.end = runs.end;
  }
  return merged;
}

async function writeWhole(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  await freeWhatCollectingLeft(checkpoint);
  if (options.compress !== undefined) {
    await writeCompressed(withParents(checkpoint, []), output, options);
    return;
  }
  const parent = options.parent === undefined ? undefined : openParent(options.parent, checkpoint);
  try {
    await writeOn(checkpoint, output, options, parent);
  } finally {
    parent?.close();
  }
}

async function writeOn(whole: Checkpoint, output: Output, options: WriteOptions, parent: ParentImage | undefined): Promise<void> {
  const interpreter = readInterpreter();
  // Whatever files the pages come from: those that this image needs are its parents.
  const checkpoint = withParents(whole, parent?.rows ?? []);
  const helper = helperFor(checkpoint);
  const firstPage = pageSize + BigInt(interpreter.bytes.length) + alignUp(BigInt(helper?.bytes.length ?? 0), pageSize);
  if (output.stream !== undefined) {
    const plan = planStorage(checkpoint, parent?.findBase);
    await writeStream(checkpoint, output.stream, plan, { interpreter, helper, firstPage }, options);
    return;
  }
  const plan = layOut(checkpoint, parent);
  const { fd } = output.file();
  const adopted = checkpoint.sources.find((source) => source instanceof AdoptedPages);
  if (adopted !== undefined) {
    await writeAround(checkpoint, fd, planStorage(checkpoint), { interpreter, helper, firstPage }, adopted, options);
    return;
  }
  const abort = new CopyEnd();
  const onProgress = (done: bigint): void => options.onProgress?.(done, plan.total);
  reserve(fd, firstPage, plan.total);
  const mayMove = plan.total >= worthMoving;
  const storing = storePages(fd, Number(firstPage), plan.ranges, { onProgress, signal: abort, mayMove });
  // As if no page were zero: then everything is known. Where one is, the second time takes much less.
  let guess: ImageTail | undefined;
  let guessed: StoredRuns | undefined;
  let encoded: EncodedTables;
  try {
    encoded = new EncodedTables(checkpoint.tables, checkpoint.unknownTables);
    if (plan.total >= worthGuess && !isLongToDerive(checkpoint, plan.total)) {
      guessed = guessedRuns(plan, firstPage, mayMove);
      guess = tailOf(checkpoint, plan.placed(guessed), encoded);
    }
  } catch (error) {
    abort.end();
    await storing.catch(() => undefined);
    throw error;
  }
  const runs = await storing;
  options.onStored?.();
  const release = (mayWait: boolean): void => {
    for (const source of checkpoint.sources) source.release?.(mayWait);
  };
  // Of much memory a fork is in the way of the program, which gets copies of what it writes to. Of little it is kept until the rest
  // is made if another thread is still looking at it.
  release(plan.total >= worthGuess);
  if (guessed !== undefined && !runs.isLike(guessed)) guess = undefined;
  const tail = guess ?? tailOf(checkpoint, plan.placed(runs), encoded, release);
  release(true);
  const { chunks } = tail;
  if (chunks.count !== runs.sums.length) throw new Error(`${chunks.count} chunks have ${runs.sums.length} checksums`);
  chunks.sums.set(runs.sums);
  putChunkSums(tail.tables, chunks);
  putProgramSums(tail.program, chunks, interpreter.checksum, parentSums(tail, runs));
  writeTail(tail, fd, BigInt(runs.end), {
    interpreter,
    helper,
    firstPage,
  });
}

/** Where pages begin that are written before it is known what they are of. */
export function pagesBegin(): number {
  return Number(pageSize) + readInterpreter().bytes.length;
}

/** See `FormatAdapter.practise`. */
export function practise(checkpoint: Checkpoint): void {
  const firstPage = BigInt(pagesBegin());
  const encoded = new EncodedTables(checkpoint.tables, checkpoint.unknownTables);
  const plan = layOut(checkpoint, undefined);
  tailOf(checkpoint, plan.placed(guessedRuns(plan, firstPage, false)), encoded);
}

/** Stores what is not in the file yet behind what is. */
async function writeAround(
  checkpoint: Checkpoint,
  fd: number,
  plan: StoragePlan,
  front: Front,
  adopted: AdoptedPages,
  options: WriteOptions,
): Promise<void> {
  if (adopted.begin !== Number(front.firstPage)) throw new Error("pages were written where they do not belong");
  const rows = [...plan.ranges.keys()];
  const there = new StoredRuns();
  const theirs = rows.filter((row) => plan.ranges[row]?.source === adopted);
  theirs.forEach((row, index) => {
    there.range.push(index);
    there.skip.push(0);
    there.length.push(Number(plan.ranges[row]?.length ?? 0n));
    there.offset.push(Number(plan.ranges[row]?.position ?? 0n));
  });
  const others = rows.filter((row) => plan.ranges[row]?.source !== adopted);
  const stored = await storePages(
    fd,
    adopted.end,
    others.map((row) => plan.ranges[row] as StoreRange),
    { onProgress: (done) => options.onProgress?.(done, plan.total) },
  );
  const runs = mergeRuns([
    { runs: there, rows: theirs },
    { runs: stored, rows: others },
  ]);
  const encoded = new EncodedTables(checkpoint.tables, checkpoint.unknownTables);
  const tail = tailOf(checkpoint, extentsOf(checkpoint, storedParts(checkpoint, plan, runs)), encoded);
  const { chunks } = tail;
  const sums = [...adopted.sumsOf(chunks), ...stored.sums];
  if (chunks.count !== sums.length) throw new Error(`${chunks.count} chunks have ${sums.length} checksums`);
  chunks.sums.set(sums);
  putChunkSums(tail.tables, chunks);
  putProgramSums(tail.program, chunks, front.interpreter.checksum);
  writeTail(tail, fd, BigInt(runs.end), front);
}

/**
 * The image in the order of its bytes. What comes first says where the rest is, so pages are looked at once to know which are
 * zero, and read again when it is their turn: nothing is kept, in memory or in a file.
 */
async function writeStream(
  checkpoint: Checkpoint,
  write: (bytes: Uint8Array) => void,
  plan: StoragePlan,
  front: Front,
  options: WriteOptions,
): Promise<void> {
  const runs = await storePages(lookAndSum, Number(front.firstPage), plan.ranges, {
    onProgress: (done) => options.onProgress?.(done / 2n, plan.total),
  });
  const encoded = new EncodedTables(checkpoint.tables, checkpoint.unknownTables);
  const tail = tailOf(checkpoint, extentsOf(checkpoint, storedParts(checkpoint, plan, runs)), encoded);
  const { head, finish } = frameOf(tail, BigInt(runs.end), front);
  write(head);
  // Pages that others share may have changed meanwhile.
  tail.chunks.sums.set(streamPages(write, plan.ranges, runs, (done) => options.onProgress?.((plan.total + done) / 2n, plan.total)));
  putChunkSums(tail.tables, tail.chunks);
  putProgramSums(tail.program, tail.chunks, front.interpreter.checksum, parentSums(tail, runs));
  for (const bytes of finish()) write(bytes);
}

async function writeCompressed(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  const interpreter = readInterpreter();
  const { fd } = output.file();
  const helper = helperFor(checkpoint);
  const firstPage = pageSize + BigInt(interpreter.bytes.length) + alignUp(BigInt(helper?.bytes.length ?? 0), pageSize);
  const plan = planStorage(checkpoint);
  const runs = await storeCompressed(checkpoint, fd, Number(firstPage), plan, options);
  const { frames = [] } = runs;
  const encoded = new EncodedTables(checkpoint.tables, checkpoint.unknownTables);
  const tail = tailOf(checkpoint, extentsOf(checkpoint, storedParts(checkpoint, plan, runs)), encoded, undefined, frames);
  const { chunks } = tail;
  if (chunks.count !== runs.sums.length) throw new Error(`${chunks.count} chunks have ${runs.sums.length} checksums`);
  chunks.sums.set(runs.sums);
  putChunkSums(tail.tables, chunks);
  putFrames(tail.tables, frames);
  putProgramSums(tail.program, chunks, interpreter.checksum);
  const end = frames.length > 0 ? runs.endOfFrames : runs.end;
  writeTail(tail, fd, BigInt(end), { interpreter, helper, firstPage }, BigInt(runs.end));
}

/** Nanoseconds that it takes to derive what a restore program has for a row, and to store a byte: roughly. */
const nsOf = { thread: 120_000, vma: 10_000, file: 40_000, byte: 1 } as const;

/**
 * Whether deriving the tables and the program takes so much longer than storing the pages that it is better done once, when
 * it is known which pages are zero: then little would be gained by doing it meanwhile, and much lost by doing it twice.
 */
function isLongToDerive({ tables: { threads, vmas, files } }: Checkpoint, bytes: bigint): boolean {
  const derive = threads.length * nsOf.thread + vmas.length * nsOf.vma + files.length * nsOf.file;
  return derive > 8 * nsOf.byte * Number(bytes);
}

function withParents(checkpoint: Checkpoint, parents: readonly ParentRow[]): Checkpoint {
  const { tables, sources, unknownTables } = checkpoint;
  return new Checkpoint({ tables: { ...tables, parents }, sources, unknownTables });
}

/** Checksums of what parents have, by their number and the place in them. */
function parentSums({ foreign }: ImageTail, { baseSums }: StoredRuns): ForeignSums {
  const sums = new Map<number, Map<number, number>>();
  let next = 0;
  for (const extent of foreign) {
    let known = sums.get(extent.source);
    if (known === undefined) sums.set(extent.source, (known = new Map()));
    const start = Number(extent.fileOffset);
    cutExtent(extent, (done) => known.set(start + done, baseSums[next++] ?? 0));
  }
  return sums;
}

/** What is stored of a checkpoint, and how to tell where it is then. */
interface Layout {
  readonly ranges: readonly StoreRange[] | RangeColumns;
  /** Bytes of the ranges. */
  readonly total: bigint;
  /** Bytes, and where chunks are cut, by range. */
  readonly lengths: readonly number[] | Float64Array;
  readonly addresses: readonly number[] | Float64Array;
  readonly placed: (runs: StoredRuns) => PlacedExtents;
}

function layOut(checkpoint: Checkpoint, parent: ParentImage | undefined): Layout {
  const columns = parent === undefined ? planColumns(checkpoint) : undefined;
  if (columns !== undefined) {
    const { ranges, total } = columns;
    const { lengths, positions: addresses } = ranges;
    return { ranges, total, lengths, addresses, placed: (runs) => placedByColumns(placedColumns(columns, runs)) };
  }
  const plan = planStorage(checkpoint, parent?.findBase);
  const { ranges, total } = plan;
  const lengths = ranges.map(({ length }) => Number(alignUp(length, pageSize)));
  const addresses = ranges.map(({ address }) => offsetInChunk(address));
  return { ranges, total, lengths, addresses, placed: (runs) => extentsOf(checkpoint, storedParts(checkpoint, plan, runs)) };
}

/** The runs if all ranges are stored whole. */
function guessedRuns({ lengths, addresses }: Layout, firstPage: bigint, mayMove: boolean): StoredRuns {
  const runs = new StoredRuns();
  runs.end = Number(firstPage);
  if (mayMove) runs.aligned = runs.end;
  lengths.forEach((length, range) => runs.addWhole(range, length, addresses[range] ?? 0));
  return runs;
}

/** Where everything that is stored is in the file. */
interface PlacedExtents {
  /** All extents. */
  readonly extents: readonly ExtentRow[];
  /** The chunks of those that have bytes of their own, ascending. */
  readonly chunks: () => StoredChunks;
  /** Those whose bytes a parent has. */
  readonly foreign: readonly ExtentRow[];
}

function extentsOf({ tables }: Checkpoint, parts: readonly StoredPart[]): PlacedExtents {
  const own: ExtentRow[] = [];
  const foreign: ExtentRow[] = [];
  let [last, ascend] = [0, true];
  const extents = parts.map(({ row, skip, length, offset, source, isOwn }) => {
    const extent = tables.extents[row] as ExtentRow;
    const address = skip === 0n ? extent.address : extent.address + skip;
    const placed = { ...extent, address, length, source, fileOffset: BigInt(offset) };
    if (isOwn && source === 0) {
      own.push(placed);
      if (offset < last) ascend = false;
      last = offset;
    } else if (isOwn) foreign.push(placed);
    return placed;
  });
  if (!ascend) own.sort((a, b) => Number(a.fileOffset - b.fileOffset));
  return { extents, chunks: () => StoredChunks.of(own), foreign };
}

/** Ascending extents that have bytes of their own. */
function placedByColumns(columns: ExtentColumns): PlacedExtents {
  const extents = extentRowsOf(columns);
  noteRecords(extents, () => ({ bytes: extentRecords(columns), open: new Int32Array(0) }));
  return { extents, chunks: () => StoredChunks.ofColumns(columns), foreign: [] };
}

/** Records `extent`. */
function extentRecords({ mm, source, starts, lengths, offsets }: ExtentColumns): Uint8Array {
  const words = new Uint32Array((starts.length * extentRowSize) / 4);
  const owner = extentOwnerValues.mm;
  for (let index = 0, at = 0; index < starts.length; index++, at += extentRowSize / 4) {
    const start = starts[index] as number;
    const length = lengths[index] as number;
    const offset = offsets[index] as number;
    words[at] = owner;
    words[at + 1] = mm;
    words[at + 2] = start;
    words[at + 3] = start / 2 ** 32;
    words[at + 4] = length;
    words[at + 5] = length / 2 ** 32;
    words[at + 6] = offset;
    words[at + 7] = offset / 2 ** 32;
    words[at + 8] = source;
  }
  return new Uint8Array(words.buffer);
}

/**
 * Everything that depends on where pages are in the file; it holds their checksums when these are known.
 * @param release called now and then, with false
 */
function tailOf(
  checkpoint: Checkpoint,
  { extents, chunks: cut, foreign }: PlacedExtents,
  encoded: EncodedTables,
  release?: (mayWait: boolean) => void,
  frames: readonly StoredFrame[] = [],
): ImageTail {
  const placed = checkpoint.withExtents(extents);
  const chunks = cut();
  const tables = encoded.segment(extents, chunks.count, frames.length);
  release?.(false);
  return { chunks, foreign, tables, program: linkProgramOf(placed, frames) };
}

/** What comes before the pages. */
interface Front {
  readonly interpreter: Interpreter;
  readonly helper: Helper | undefined;
  readonly firstPage: bigint;
}

/** What comes after the pages. */
interface ImageTail {
  readonly chunks: StoredChunks;
  readonly foreign: readonly ExtentRow[];
  readonly tables: TablesSegment;
  readonly program: ReturnType<typeof linkProgramOf>;
}

/** Everything of an image but its pages. */
interface Frame {
  /** As long as the pages do not begin. Does not depend on checksums. */
  readonly head: Uint8Array;
  readonly tablesOffset: bigint;
  /** From there to the end of the file, when checksums of pages are where they belong: tables, a gap, program, section headers. */
  finish(): readonly Uint8Array[];
}

function writeTail(tail: ImageTail, fd: number, endOfPages: bigint, front: Front, endOfContent = endOfPages): void {
  const { head, tablesOffset, finish } = frameOf(tail, endOfPages, front, endOfContent);
  let at = Number(tablesOffset);
  for (const part of finish()) {
    writeFully(fd, part, BigInt(at));
    at += part.length;
  }
  writeFully(fd, head, 0n);
  // An output that was longer before (a reused file) must end here.
  ftruncateSync(fd, at);
}

/** @param endOfContent where pages would end if nothing were compressed */
function frameOf(
  { tables, program }: ImageTail,
  endOfPages: bigint,
  { interpreter, helper, firstPage }: Front,
  endOfContent = endOfPages,
): Frame {
  const codeSize = pageSize + BigInt(interpreter.bytes.length);
  const tablesOffset = endOfPages;
  const programOffset = alignUp(tablesOffset + BigInt(tables.bytes.length), pageSize);
  const namesOffset = programOffset + BigInt(program.length);
  const names = new StringTableWriter();
  const { header } = program;
  const section = (name: string, fields: Partial<SectionHeader>): SectionHeader =>
    sectionHeader({ shName: names.add(name), shAddralign: 1n, ...fields });
  const sections: SectionHeader[] = [
    sectionHeader({}),
    section(".text", {
      shType: SHT.progbits,
      shFlags: SHF.alloc | SHF.exec,
      shAddr: header.holeBase + pageSize,
      shOffset: pageSize,
      shSize: codeSize - pageSize,
      shAddralign: 16n,
    }),
  ];
  if (helper !== undefined) {
    sections.push(
      section(".ckpt.helper", { shType: SHT.progbits, shOffset: helper.fileOffset, shSize: BigInt(helper.bytes.length), shAddralign: 16n }),
    );
  }
  if (endOfPages > firstPage) {
    sections.push(
      section(".ckpt.pages", { shType: SHT.progbits, shOffset: firstPage, shSize: endOfPages - firstPage, shAddralign: pageSize }),
    );
  }
  for (const table of tables.tables) {
    if (table.length === 0) continue;
    sections.push(
      section(`.ckpt.${table.name}`, {
        shType: SHT.progbits,
        shOffset: tablesOffset + BigInt(table.offset),
        shSize: BigInt(table.length),
        shAddralign: 8n,
        shEntsize: table.rowLength === 1 ? 0n : BigInt(table.rowLength),
      }),
    );
  }
  sections.push(
    section(".ckpt.program", { shType: SHT.progbits, shOffset: programOffset, shSize: BigInt(program.length), shAddralign: 8n }),
  );
  const nameOfNames = names.add(".shstrtab");
  const nameBytes = names.finish();
  sections.push(
    sectionHeader({ shName: nameOfNames, shType: SHT.strtab, shOffset: namesOffset, shSize: BigInt(nameBytes.length), shAddralign: 1n }),
  );
  const headersOffset = alignUp(namesOffset + BigInt(nameBytes.length), 8n);

  const segment = (pType: number, pFlags: number, pOffset: bigint, pFilesz: bigint, more: Partial<ProgramHeader> = {}): ProgramHeader =>
    programHeader({ pType, pFlags, pOffset, pFilesz, pMemsz: pFilesz, pAlign: 8n, ...more });
  const segments = [
    segment(segmentTypeValues.load, PF.r | PF.x, 0n, codeSize, { pVaddr: header.holeBase, pPaddr: header.holeBase, pAlign: pageSize }),
    ...(helper === undefined
      ? []
      : [segment(segmentTypeValues.ckpt_helper, PF.r, helper.fileOffset, BigInt(helper.bytes.length), { pAlign: pageSize })]),
    segment(segmentTypeValues.ckpt_extents, PF.r, firstPage, endOfPages - firstPage, {
      pAlign: pageSize,
      pMemsz: endOfContent - firstPage,
    }),
    segment(segmentTypeValues.ckpt_tables, PF.r, tablesOffset, BigInt(tables.bytes.length)),
    segment(segmentTypeValues.ckpt_program, PF.r | PF.w, programOffset, BigInt(program.length), {
      pVaddr: header.addrProgram,
      pPaddr: header.addrProgram,
      pMemsz: header.lenMemory,
      pAlign: pageSize,
    }),
    segment(segmentTypeValues.gnu_stack, PF.r | PF.w, 0n, 0n, { pAlign: 16n }),
  ];
  const front = new ByteWriter(Number(firstPage));
  writeElfHeader(
    front,
    imageHeader({
      eType: elfTypeValues.exec,
      eEntry: header.holeBase + pageSize,
      ePhnum: segments.length,
      eShoff: headersOffset,
      eShnum: sections.length,
      eShstrndx: sections.length - 1,
    }),
  );
  for (const one of segments) writeProgramHeader(front, one);
  if (front.length !== 64 + segments.length * programHeaderSize) throw new Error("program headers do not follow the ELF header");
  front.zeros(Number(pageSize) - front.length);
  front.bytes(interpreter.bytes);
  if (helper !== undefined) front.bytes(helper.bytes);
  front.zeros(Number(firstPage) - front.length);
  const head = front.finish();
  const finish = (): readonly Uint8Array[] => {
    const writer = new ByteWriter(Number(headersOffset - namesOffset) + sections.length * 64);
    writer.bytes(nameBytes);
    // The program ends at a multiple of 64.
    writer.align(8);
    for (const one of sections) writeSectionHeader(writer, one);
    const gap = new Uint8Array(Number(programOffset - tablesOffset) - tables.bytes.length);
    const behind = [gap, ...program.parts, writer.finish()];
    putSums(tables.bytes, storedSum(behind.reduce((crc, part) => crcOf(part, crc), crcOf(head))));
    return [tables.bytes, ...behind];
  };
  return { head, tablesOffset, finish };
}
