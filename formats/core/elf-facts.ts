// SPDX-License-Identifier: Apache-2.0
/** Facts from the ELF headers of a mapped program: segments, build-id, and the addresses that the kernel derives from them. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  elfHeaderSize,
  noteHeaderSize,
  programHeaderSize,
  readElfHeader,
  readNoteHeader,
  readProgramHeader,
  segmentTypeValues,
  type ProgramHeader,
} from "../../src/gen/elf64.js";

const maxSegments = 128;
const ntGnuBuildId = 3;

/** Reads `length` bytes at a position of the ELF file (or of its image in memory); undefined where they are not there. */
export type ReadBytes = (position: bigint, length: number) => Uint8Array | undefined;

/** Program headers of an ELF file; undefined if it is none. */
export function readSegments(read: ReadBytes): readonly ProgramHeader[] | undefined {
  const head = read(0n, elfHeaderSize);
  if (!head) return undefined;
  return orUndefined(() => {
    const header = readElfHeader(new ByteReader(head));
    if (header.ePhentsize !== programHeaderSize || header.ePhnum > maxSegments) return undefined;
    return readProgramHeaders(read, header.ePhoff, header.ePhnum);
  });
}

/** A table of program headers at a position. */
export function readProgramHeaders(read: ReadBytes, position: bigint, count: number): readonly ProgramHeader[] | undefined {
  const bytes = count > maxSegments ? undefined : read(position, count * programHeaderSize);
  if (!bytes) return undefined;
  const reader = new ByteReader(bytes);
  return Array.from({ length: count }, () => readProgramHeader(reader));
}

/** NT_GNU_BUILD_ID; `positionOf` says where a segment's bytes are for `read` (file offset, or address in the image). */
export function buildIdOf(
  read: ReadBytes,
  segments: readonly ProgramHeader[],
  positionOf: (segment: ProgramHeader) => bigint,
): Uint8Array | undefined {
  for (const segment of segments) {
    if (segment.pType !== segmentTypeValues.note || segment.pFilesz > 65536n) continue;
    const bytes = read(positionOf(segment), Number(segment.pFilesz));
    const id = bytes && orUndefined(() => buildIdInNotes(bytes, segment.pAlign === 8n ? 8 : 4));
    if (id) return id;
  }
  return undefined;
}

function buildIdInNotes(bytes: Uint8Array, alignment: number): Uint8Array | undefined {
  const pad = (length: number) => Math.ceil(length / alignment) * alignment;
  const reader = new ByteReader(bytes);
  while (reader.remaining >= noteHeaderSize) {
    const { nNamesz, nDescsz, nType } = readNoteHeader(reader);
    const start = reader.pos;
    const name = Buffer.from(reader.bytes(nNamesz)).toString("latin1");
    // Padding counts from the note's own start, which is aligned.
    reader.skip(Math.min(reader.remaining, pad(noteHeaderSize + nNamesz) - noteHeaderSize - nNamesz));
    const descriptor = reader.bytes(nDescsz);
    if (name === "GNU\0" && nType === ntGnuBuildId) return descriptor.slice();
    reader.skip(Math.min(reader.remaining, pad(reader.pos - start + noteHeaderSize) - (reader.pos - start + noteHeaderSize)));
  }
  return undefined;
}

/** start_code … end_data and the end of bss, as load_elf_binary computes them from the headers. */
export interface ProgramLayout {
  readonly startCode: bigint;
  readonly endCode: bigint;
  readonly startData: bigint;
  readonly endData: bigint;
  /** First address after bss, not rounded. */
  readonly endBss: bigint;
}

/** @param bias what is added to p_vaddr (0 for ET_EXEC) */
export function layOutProgram(segments: readonly ProgramHeader[], bias: bigint): ProgramLayout | undefined {
  const loads = segments.filter(({ pType }) => pType === segmentTypeValues.load);
  const code = loads.filter(({ pFlags }) => (pFlags & 1) !== 0);
  if (code.length === 0) return undefined;
  const last = (values: readonly bigint[]) => values.reduce((a, b) => (a > b ? a : b)) + bias;
  return {
    startCode: code.map(({ pVaddr }) => pVaddr).reduce((a, b) => (a < b ? a : b)) + bias,
    endCode: last(code.map(({ pVaddr, pFilesz }) => pVaddr + pFilesz)),
    startData: last(loads.map(({ pVaddr }) => pVaddr)),
    endData: last(loads.map(({ pVaddr, pFilesz }) => pVaddr + pFilesz)),
    endBss: last(loads.map(({ pVaddr, pMemsz }) => pVaddr + pMemsz)),
  };
}

/** Headers in memory are not trusted: what cannot be read yields nothing instead of an error. */
function orUndefined<Value>(make: () => Value | undefined): Value | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof CrimgError) return undefined;
    throw error;
  }
}
