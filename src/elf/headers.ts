// SPDX-License-Identifier: Apache-2.0
/**
 * Header tables of an ELF file, judged against the file's bounds before anything is allocated.
 * This is the container only: what segments mean is the business of the formats.
 */
import { ByteReader } from "../bytes/byte-reader.js";
import { type RandomBytes, assertRange } from "../bytes/random-bytes.js";
import { CrimgError } from "../errors/crimg-error.js";
import {
  type ElfHeader,
  type ProgramHeader,
  type SectionHeader,
  elfHeaderSize,
  pnXnum,
  programHeaderSize,
  readElfHeader as readElfHeaderRecord,
  readProgramHeader,
  readSectionHeader,
  sectionHeaderSize,
} from "../gen/elf64.js";

/** More headers than any address space has VMAs (vm.max_map_count is 65,530 by default; people raise it to a million). */
export const maxHeaders = 1 << 21;

/** Largest table that is read in one piece into memory. */
export const maxSegmentBytes = 1 << 28;

/** Reads and checks the header at offset 0. @throws CrimgError `elf.header`, `bytes.*` */
export function readElfHeader(source: RandomBytes, format?: string): ElfHeader {
  const place = { source: source.name, format, path: "elf_header" };
  if (source.size < BigInt(elfHeaderSize)) {
    throw new CrimgError("elf.header", `an ELF header has ${elfHeaderSize} bytes, the file has ${source.size}`, { ...place, offset: 0n });
  }
  return readElfHeaderRecord(new ByteReader(source.read(0n, elfHeaderSize), place));
}

/** A table of `count` entries in the file. */
interface TableShape {
  readonly offset: bigint;
  readonly count: number;
  readonly entrySize: number;
  readonly wantedSize: number;
  /** Such as `program_headers`. */
  readonly path: string;
}

function assertTable(source: RandomBytes, table: TableShape): void {
  const place = { source: source.name, path: table.path, offset: table.offset };
  if (table.entrySize !== table.wantedSize) {
    const message = `${table.path} must have entries of ${table.wantedSize} bytes, found ${table.entrySize}`;
    throw new CrimgError("elf.entry_size", message, { ...place, expected: String(table.wantedSize), actual: String(table.entrySize) });
  }
  if (table.count > maxHeaders) {
    throw new CrimgError("elf.count", `${table.path} must have at most ${maxHeaders} entries, found ${table.count}`, place);
  }
  assertRange(source.name, source.size, table.offset, BigInt(table.count) * BigInt(table.entrySize), table.path);
}

function readTable<Entry>(source: RandomBytes, table: TableShape, read: (reader: ByteReader) => Entry): Entry[] {
  assertTable(source, table);
  const bytes = source.read(table.offset, table.count * table.entrySize);
  const reader = new ByteReader(bytes, { source: source.name, base: table.offset });
  return Array.from({ length: table.count }, (_none, index) => {
    reader.enter(table.path, index);
    return read(reader);
  });
}

/** Section 0, which holds the counts that do not fit in the ELF header. */
function readInitialSection(source: RandomBytes, header: ElfHeader): SectionHeader | undefined {
  if (header.eShoff === 0n) return undefined;
  const { eShoff: offset, eShentsize: entrySize } = header;
  return readTable(source, { offset, count: 1, entrySize, wantedSize: sectionHeaderSize, path: "section_headers" }, readSectionHeader)[0];
}

/** Number of program headers, also where it does not fit in e_phnum (PN_XNUM). */
export function countProgramHeaders(source: RandomBytes, header: ElfHeader): number {
  if (header.ePhnum !== pnXnum) return header.ePhnum;
  const initial = readInitialSection(source, header);
  if (initial) return initial.shInfo;
  throw new CrimgError("elf.count", "e_phnum is PN_XNUM, but there is no section header 0 with the count", {
    source: source.name,
    offset: 56n,
    path: "elf_header.e_phnum",
  });
}

/** All program headers; an empty list if there are none. @throws CrimgError `elf.*`, `bytes.short` */
export function readProgramHeaders(source: RandomBytes, header: ElfHeader): ProgramHeader[] {
  const count = countProgramHeaders(source, header);
  if (count === 0 || header.ePhoff === 0n) return [];
  const { ePhoff: offset, ePhentsize: entrySize } = header;
  return readTable(source, { offset, count, entrySize, wantedSize: programHeaderSize, path: "program_headers" }, readProgramHeader);
}

/** All section headers; an empty list if there are none. @throws CrimgError `elf.*`, `bytes.short` */
export function readSectionHeaders(source: RandomBytes, header: ElfHeader): SectionHeader[] {
  const initial = readInitialSection(source, header);
  if (!initial) return [];
  // With more than 65,279 sections e_shnum is 0 and sh_size of section 0 has the number.
  const count = header.eShnum === 0 ? Number(initial.shSize) : header.eShnum;
  const { eShoff: offset, eShentsize: entrySize } = header;
  return readTable(source, { offset, count, entrySize, wantedSize: sectionHeaderSize, path: "section_headers" }, readSectionHeader);
}

/** Names of sections by index; what the name table does not hold is "". */
export function readSectionNames(source: RandomBytes, header: ElfHeader, sections: readonly SectionHeader[]): string[] {
  const table = sections[header.eShstrndx];
  if (!table) return sections.map(() => "");
  const path = `section_headers[${header.eShstrndx}]`;
  const bytes = readRange(source, table.shOffset, table.shSize, path);
  return sections.map(({ shName }) => {
    // Names are short: a long table without NULs must not be searched again for every section.
    const start = bytes.subarray(shName, shName + 256);
    const end = start.indexOf(0);
    return end < 0 ? "" : Buffer.from(start.subarray(0, end)).toString("latin1");
  });
}

/** Fails unless the segment's bytes lie in the file. @throws CrimgError `bytes.short` */
export function assertSegment(source: RandomBytes, segment: ProgramHeader, path: string): void {
  assertRange(source.name, source.size, segment.pOffset, segment.pFilesz, path);
}

/** The bytes of a segment of metadata (never of pages). @throws CrimgError `bytes.short`, `elf.segment_size` */
export function readSegment(source: RandomBytes, segment: ProgramHeader, path: string): Uint8Array {
  return readRange(source, segment.pOffset, segment.pFilesz, path);
}

function readRange(source: RandomBytes, offset: bigint, length: bigint, path: string): Uint8Array {
  assertRange(source.name, source.size, offset, length, path);
  if (length > BigInt(maxSegmentBytes)) {
    const message = `${path} must have at most ${maxSegmentBytes} bytes, found ${length}`;
    throw new CrimgError("elf.segment_size", message, { source: source.name, offset, path });
  }
  return source.read(offset, Number(length));
}
