/** The container of a core: ELF header, program headers, notes. No meaning yet. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  elfHeaderSize, elfTypeValues, emX8664, noteHeaderSize, pnXnum, programHeaderSize, readElfHeader, readNoteHeader,
  readProgramHeader, readSectionHeader, sectionHeaderSize, segmentTypeValues, type ProgramHeader,
} from "../../src/gen/elf64.js";
import type { InputFile } from "../../src/pages/input-file.js";

/** A note as it stands in the file. */
export interface CoreNote {
  /** "CORE", "LINUX", "GDB" … */
  readonly owner: string;
  readonly type: number;
  /** File offset of the descriptor. */
  readonly offset: bigint;
  readonly bytes: Uint8Array;
}

export interface CoreFile {
  readonly notes: readonly CoreNote[];
  /** PT_LOADs of at least one byte of memory, in ascending order of address, disjoint. */
  readonly loads: readonly ProgramHeader[];
}

/** The kernel allows 65,530 mappings by default; whoever raised that has fewer than this. */
const maxProgramHeaders = 1 << 20;
/** 11 KiB of registers a thread: notes of 20,000 threads. */
const maxNoteBytes = 256n << 20n;
const headersPerRead = 4096;

/** Reads the headers and the notes. Throws CrimgError `core.*`, `input.short`. */
export function readCoreFile(file: InputFile): CoreFile {
  const header = readElfHeader(readerOf(file, 0n, elfHeaderSize, "ELF header"));
  const bad = (message: string, path: string) =>
    new CrimgError("core.header", message, { source: file.path, format: "core", offset: 0n, path });
  if (header.eType !== elfTypeValues.core) throw bad(`e_type must be ET_CORE (4), found ${header.eType}`, "e_type");
  if (header.eMachine !== emX8664) throw bad(`e_machine must be EM_X86_64 (62), found ${header.eMachine}`, "e_machine");
  if (header.ePhentsize !== programHeaderSize) throw bad(`e_phentsize must be ${programHeaderSize}, found ${header.ePhentsize}`, "e_phentsize");
  // PN_XNUM: the number of program headers is in sh_info of section 0 (gABI; fs/binfmt_elf.c: fill_extnum_info).
  const count =
    header.ePhnum === pnXnum
      ? readSectionHeader(readerOf(file, header.eShoff, sectionHeaderSize, "section header 0")).shInfo
      : header.ePhnum;
  if (count > maxProgramHeaders || !file.has(header.ePhoff, BigInt(count) * BigInt(programHeaderSize))) {
    throw bad(`there are ${count} program headers of ${programHeaderSize} bytes at ${header.ePhoff}, more than the file holds`, "e_phnum");
  }
  const loads: ProgramHeader[] = [];
  const notes: CoreNote[] = [];
  let noteBytes = 0n;
  for (let first = 0; first < count; first += headersPerRead) {
    const batch = Math.min(headersPerRead, count - first);
    const offset = header.ePhoff + BigInt(first * programHeaderSize);
    const reader = readerOf(file, offset, batch * programHeaderSize, "program headers");
    for (let index = first; index < first + batch; index++) {
      reader.enter("program_headers", index);
      const segment = readProgramHeader(reader);
      if (segment.pType === segmentTypeValues.load && segment.pMemsz > 0n) {
        checkLoad(segment, index, file, offset);
        loads.push(segment);
      } else if (segment.pType === segmentTypeValues.note) {
        noteBytes += segment.pFilesz;
        if (noteBytes > maxNoteBytes) throw bad(`the notes have more than ${maxNoteBytes} bytes`, `program_headers[${index}].p_filesz`);
        readNotes(file, segment, index, notes);
      }
    }
  }
  loads.sort((a, b) => (a.pVaddr < b.pVaddr ? -1 : a.pVaddr > b.pVaddr ? 1 : 0));
  assertDisjoint(loads, file);
  return { notes, loads };
}

function readerOf(file: InputFile, offset: bigint, length: number, what: string): ByteReader {
  return new ByteReader(file.bytes(offset, length, what), { source: file.path, base: offset, format: "core" });
}

function checkLoad(load: ProgramHeader, index: number, file: InputFile, base: bigint): void {
  const problem =
    load.pVaddr % 4096n !== 0n
      ? `p_vaddr 0x${load.pVaddr.toString(16)} is not page-aligned`
      : load.pVaddr + load.pMemsz > 1n << 64n
        ? "p_vaddr + p_memsz is above 2^64"
        : load.pFilesz > load.pMemsz
          ? `p_filesz ${load.pFilesz} is larger than p_memsz ${load.pMemsz}`
          : undefined;
  if (problem === undefined) return;
  throw new CrimgError("core.segment", `program header ${index}: ${problem}`, {
    source: file.path,
    format: "core",
    offset: base + BigInt((index % headersPerRead) * programHeaderSize),
    path: `program_headers[${index}]`,
  });
}

function assertDisjoint(loads: readonly ProgramHeader[], file: InputFile): void {
  for (let index = 1; index < loads.length; index++) {
    const [before, after] = [loads[index - 1] as ProgramHeader, loads[index] as ProgramHeader];
    if (before.pVaddr + before.pMemsz > after.pVaddr) {
      throw new CrimgError("core.overlap", `two segments hold the memory at 0x${after.pVaddr.toString(16)}`, { source: file.path, format: "core" });
    }
  }
}

/**
 * Notes of a segment: header, owner with NUL, descriptor, each padded to 4 bytes. The kernel's linker scripts know
 * 8-byte notes too, but cores have none, whatever p_align says (gcore writes 1, the kernel 4).
 */
function readNotes(file: InputFile, segment: ProgramHeader, index: number, into: CoreNote[]): void {
  const end = segment.pOffset + segment.pFilesz;
  if (!file.has(segment.pOffset, segment.pFilesz)) file.bytes(segment.pOffset, Number(segment.pFilesz), "notes", `program_headers[${index}]`);
  for (let offset = segment.pOffset, number = 0; offset < end; number++) {
    const path = `program_headers[${index}].notes[${number}]`;
    const malformed = (what: string) => new CrimgError("core.note", what, { source: file.path, format: "core", offset, path });
    if (offset + BigInt(noteHeaderSize) > end) throw malformed("a note header is cut off by the end of its segment");
    const header = readNoteHeader(readerOf(file, offset, noteHeaderSize, "note header"));
    const nameOffset = offset + BigInt(noteHeaderSize);
    const descriptor = nameOffset + BigInt(align4(header.nNamesz));
    const next = descriptor + BigInt(align4(header.nDescsz));
    // The last note need not be padded.
    if (header.nNamesz > 256 || descriptor + BigInt(header.nDescsz) > end) {
      throw malformed(`a note of ${header.nNamesz} + ${header.nDescsz} bytes does not fit in its segment`);
    }
    const name = Buffer.from(file.bytes(nameOffset, header.nNamesz, "note name", path)).toString("latin1");
    into.push({
      owner: name.replace(/\0.*$/s, ""),
      type: header.nType,
      offset: descriptor,
      bytes: file.bytes(descriptor, header.nDescsz, "note", path),
    });
    offset = next;
  }
}

function align4(length: number): number {
  return Math.ceil(length / 4) * 4;
}
