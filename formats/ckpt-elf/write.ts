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
import type { ExtentRow } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { alignUp } from "../../src/lower/align.js";
import { lengthOf, PageCopies, type PlacedRange } from "../../src/pages/page-copies.js";
import { writeFully } from "../../src/pages/file-source.js";
import { bundle } from "./bundle.js";
import { pageSize } from "./image-header.js";
import { type Helper, helperFor } from "./helper.js";
import { linkProgramOf } from "./link.js";
import { type Interpreter, readInterpreter } from "./interpreter.js";
import { type TablesSegment, writeTablesSegment } from "../../src/elf/write-tables.js";
import { StoredChunks } from "../../src/model/stored-chunks.js";
import { crcOf, sumTheRest } from "../../src/pages/checksum.js";
import { storedSum } from "../../src/bytes/crc32c.js";
import { putProgramSums } from "../../src/lower/program-sums.js";
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

async function writeWhole(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  const interpreter = readInterpreter();
  const { fd } = output.file();
  const helper = helperFor(checkpoint);
  const firstPage = pageSize + BigInt(interpreter.bytes.length) + alignUp(BigInt(helper?.bytes.length ?? 0), pageSize);
  const placement = layOut(checkpoint.tables.extents, firstPage);
  const stored = placement.own.map(({ to }) => to);
  // The program refers to pages by their place in this file, which is known before they are there.
  const placed = new Checkpoint({
    tables: { ...checkpoint.tables, extents: placement.extents },
    sources: checkpoint.sources,
    unknownTables: checkpoint.unknownTables,
  });
  const abort = new AbortController();
  // In the background where the sources can; the rest of the image is made meanwhile, but for checksums of the pages.
  const chunks = StoredChunks.of(stored);
  const copies = new PageCopies(options.onProgress, abort.signal, chunks);
  copies.expect(lengthOf(stored));
  const copying = copies.copy(fd, placedRanges(checkpoint, placement));
  let rest: Rest;
  try {
    rest = { tables: writeTablesSegment(placed.tables, placed.unknownTables, chunks.count), program: linkProgramOf(placed) };
  } catch (error) {
    abort.abort();
    await copying.catch(() => undefined);
    throw error;
  }
  await copying;
  sumTheRest(fd, chunks);
  putChunkSums(rest.tables, chunks);
  putProgramSums(rest.program, chunks, interpreter.checksum);
  writeRest(rest, fd, placement.end, {
    interpreter,
    helper,
    firstPage,
  });
}

/** What comes before the pages. */
interface Front {
  readonly interpreter: Interpreter;
  readonly helper: Helper | undefined;
  readonly firstPage: bigint;
}

/** What comes after the pages. */
interface Rest {
  readonly tables: TablesSegment;
  readonly program: ReturnType<typeof linkProgramOf>;
}

/** Where everything that is stored will be in the file. */
interface Placement {
  /** All extents, with their places. */
  readonly extents: readonly ExtentRow[];
  /** Those that have bytes of their own, ascending: with their old place, and the new one. */
  readonly own: readonly { readonly from: ExtentRow; readonly to: ExtentRow }[];
  readonly end: bigint;
}

/** Page-aligned, one after the other; bytes that an earlier extent has too (pages shared with a parent) are stored once. */
function layOut(extents: readonly ExtentRow[], start: bigint): Placement {
  let next = start;
  const placed = new Map<number, { from: ExtentRow; to: ExtentRow }[]>();
  const own: { from: ExtentRow; to: ExtentRow }[] = [];
  const rows = extents.map((extent) => {
    let known = placed.get(extent.source);
    if (known === undefined) placed.set(extent.source, (known = []));
    const holder = holderOf(known, extent);
    if (holder !== undefined) {
      return { ...extent, source: 0, fileOffset: holder.to.fileOffset + (extent.fileOffset - holder.from.fileOffset) };
    }
    const to = { ...extent, source: 0, fileOffset: next };
    next += alignUp(extent.length, pageSize);
    const last = known.at(-1);
    // Only what ascends can be found again; anything else is stored once more.
    if (last === undefined || last.from.fileOffset + last.from.length <= extent.fileOffset) known.push({ from: extent, to });
    own.push({ from: extent, to });
    return to;
  });
  return { extents: rows, own, end: next };
}

/** Who has the bytes of an extent already. */
function holderOf(known: readonly { from: ExtentRow; to: ExtentRow }[], { ownerKind, fileOffset, length }: ExtentRow) {
  if (ownerKind !== "mm") return undefined;
  let [low, high] = [0, known.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const { from } = known[middle] as { from: ExtentRow };
    if (from.fileOffset + from.length > fileOffset) high = middle;
    else low = middle + 1;
  }
  const found = known[low];
  if (found === undefined || found.from.fileOffset > fileOffset || found.from.fileOffset + found.from.length < fileOffset + length)
    return undefined;
  // A place in the middle of a page would be none in the image.
  return (fileOffset - found.from.fileOffset) % pageSize === 0n ? found : undefined;
}

/** Extents that have a source, and their places. */
function* placedRanges({ sources }: Checkpoint, { own }: Placement): Generator<PlacedRange> {
  for (const { from, to } of own) {
    const pages = sources[from.source];
    if (pages) yield { source: pages, position: from.fileOffset, length: from.length, target: to.fileOffset };
  }
}

function writeRest({ tables, program }: Rest, fd: number, endOfPages: bigint, { interpreter, helper, firstPage }: Front): void {
  const codeSize = pageSize + BigInt(interpreter.bytes.length);
  const tablesOffset = endOfPages;
  const programOffset = alignUp(tablesOffset + BigInt(tables.bytes.length), pageSize);
  const namesOffset = programOffset + BigInt(program.bytes.length);
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
    section(".ckpt.program", { shType: SHT.progbits, shOffset: programOffset, shSize: BigInt(program.bytes.length), shAddralign: 8n }),
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
    segment(segmentTypeValues.ckpt_extents, PF.r, firstPage, endOfPages - firstPage, { pAlign: pageSize }),
    segment(segmentTypeValues.ckpt_tables, PF.r, tablesOffset, BigInt(tables.bytes.length)),
    segment(segmentTypeValues.ckpt_program, PF.r | PF.w, programOffset, BigInt(program.bytes.length), {
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
  const back = new ByteWriter(Number(headersOffset - programOffset) + sections.length * 64);
  back.bytes(program.bytes);
  back.bytes(nameBytes);
  back.align(8);
  for (const one of sections) writeSectionHeader(back, one);
  const [head, tail] = [front.finish(), back.finish()];
  const gap = new Uint8Array(Number(programOffset - tablesOffset) - tables.bytes.length);
  putSums(tables.bytes, storedSum(crcOf(tail, crcOf(gap, crcOf(head)))));
  writeFully(fd, tables.bytes, tablesOffset);
  writeFully(fd, tail, programOffset);
  writeFully(fd, head, 0n);
  // An output that was longer before (a reused file) must end here.
  ftruncateSync(fd, Number(programOffset) + back.length);
}
