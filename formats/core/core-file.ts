// SPDX-License-Identifier: Apache-2.0
/** The container of a core: program headers and notes. No meaning yet. */
import type { RandomBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders, readSectionHeaders, readSegment } from "../../src/elf/headers.js";
import { iterateNotes, type Note } from "../../src/elf/notes.js";
import { machineName } from "../../src/linux/elf-machines.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { type ElfHeader, elfTypeValues, emX8664, pnXnum, segmentTypeValues, type ProgramHeader } from "../../src/gen/elf64.js";

/** SHT_NOTE. */
const shtNote = 7;
const maxNoteSectionBytes = 1n << 26n;

export interface CoreFile {
  readonly notes: readonly Note[];
  /** PT_LOADs of at least one byte of memory, in ascending order of address, disjoint. */
  readonly loads: readonly ProgramHeader[];
}

/** Reads the headers and the notes. Throws CrimgError `core.*`, `elf.*`, `bytes.*`. */
export function readCoreFile(file: RandomBytes): CoreFile {
  const header = readElfHeader(file, "core");
  const refuse = (message: string, path: string) => {
    throw new CrimgError("core.header", message, { source: file.name, format: "core", offset: 0n, path });
  };
  if (header.eType !== elfTypeValues.core) refuse(`e_type must be ET_CORE (4), found ${header.eType}`, "elf_header.e_type");
  if (header.eMachine !== emX8664) {
    const machine = machineName(header.eMachine);
    refuse(
      `it is the core of a program for ${machine}; crimg handles x86-64 (e_machine 62, found ${header.eMachine})`,
      "elf_header.e_machine",
    );
  }
  const loads: ProgramHeader[] = [];
  const notes: Note[] = [];
  for (const [index, segment] of readProgramHeaders(file, header).entries()) {
    const path = `program_headers[${index}]`;
    if (segment.pType === segmentTypeValues.load && segment.pMemsz > 0n) {
      assertLoad(segment, path, file);
      loads.push(segment);
    } else if (segment.pType === segmentTypeValues.note) {
      const place = { source: file.name, format: "core", base: segment.pOffset, path: `${path}.notes` };
      notes.push(...iterateNotes(readSegment(file, segment, path), place));
    }
  }
  notes.push(...sectionNotes(file, header));
  loads.sort((a, b) => (a.pVaddr < b.pVaddr ? -1 : a.pVaddr > b.pVaddr ? 1 : 0));
  for (const [index, load] of loads.entries()) {
    const before = loads[index - 1];
    if (before && before.pVaddr + before.pMemsz > load.pVaddr) {
      throw new CrimgError("core.overlap", `two segments hold the memory at 0x${load.pVaddr.toString(16)}`, {
        source: file.name,
        format: "core",
      });
    }
  }
  return { notes, loads };
}

/** Notes that only a section names: minicoredumper's list. A core that was cut off has lost its section headers. */
function sectionNotes(file: RandomBytes, header: ElfHeader): Note[] {
  if (header.eShoff === 0n || header.eShoff >= file.size || header.ePhnum === pnXnum) return [];
  try {
    return readSectionHeaders(file, header)
      .filter(({ shType, shSize }) => shType === shtNote && shSize > 0n && shSize <= maxNoteSectionBytes)
      .flatMap(({ shOffset, shSize }) => {
        const place = { source: file.name, format: "core", base: shOffset, path: "section_notes" };
        return [...iterateNotes(file.read(shOffset, Number(shSize)), place)];
      })
      .filter(({ name }) => name === "minicoredumper");
  } catch (error) {
    if (error instanceof CrimgError) return [];
    throw error;
  }
}

function assertLoad(load: ProgramHeader, path: string, file: RandomBytes): void {
  const problem =
    load.pVaddr % 4096n !== 0n
      ? `p_vaddr 0x${load.pVaddr.toString(16)} is not page-aligned`
      : load.pVaddr + load.pMemsz > 1n << 64n
        ? "p_vaddr + p_memsz is above 2^64"
        : load.pFilesz > load.pMemsz
          ? `p_filesz ${load.pFilesz} is larger than p_memsz ${load.pMemsz}`
          : undefined;
  if (problem !== undefined) throw new CrimgError("core.segment", problem, { source: file.name, format: "core", path });
}
