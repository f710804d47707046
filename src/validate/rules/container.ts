// SPDX-License-Identifier: Apache-2.0
/** Rules about a version 2 image as a file: parts, headers, section names, holes (SPEC 2 to 4). */
import { rowsWithOwnBytes } from "../../model/shared-pages.js";
import type { RandomBytes } from "../../bytes/random-bytes.js";
import { segmentsOf } from "../../../formats/ckpt-elf/image-header.js";
import { readFrames } from "../../../formats/ckpt-elf/frames.js";
import type { StoredFrame } from "../../model/stored-frames.js";
import { FramedBytes } from "../../pages/framed-bytes.js";
import { type ImageSums, readSums } from "../../../formats/ckpt-elf/sums.js";
import { readElfHeader, readProgramHeaders, readSectionHeaders, readSegment } from "../../elf/headers.js";
import { readTableDirectory } from "../../elf/table-directory.js";
import { directoryEntrySize, tablesHeaderSize } from "../../gen/ckpt-elf-v2.js";
import {
  type ElfHeader,
  type ProgramHeader,
  type SectionHeader,
  elfHeaderSize,
  programHeaderSize,
  sectionHeaderSize,
  segmentTypeValues,
} from "../../gen/elf64.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { Problem, Rule } from "../finding.js";
import { hex } from "../model-context.js";

export interface Container {
  readonly file: RandomBytes;
  readonly header: ElfHeader;
  readonly segments: readonly ProgramHeader[];
  readonly sections: readonly SectionHeader[];
  readonly checkpoint: Checkpoint;
  /** Bytes of the tables segment, and the checksums in it. */
  readonly tables: Uint8Array;
  readonly sums: ImageSums | undefined;
  /** Of compressed stored bytes; none where nothing is compressed. */
  readonly frames: readonly StoredFrame[];
  /** The file as if nothing were compressed: extents and checksums count so. */
  readonly plain: RandomBytes;
  /** Told how many of the stored bytes have been summed. */
  readonly onProgress?: (doneBytes: bigint, totalBytes: bigint) => void;
}

/** Reads what the rules need. The reader has accepted the file already, so this does. */
export function readContainer(file: RandomBytes, checkpoint: Checkpoint, onProgress?: Container["onProgress"]): Container {
  const header = readElfHeader(file);
  let sections: readonly SectionHeader[] = [];
  try {
    sections = readSectionHeaders(file, header);
  } catch (error) {
    if (!(error instanceof CrimgError)) throw error; // a rule says so
  }
  const segments = readProgramHeaders(file, header);
  const segment = segmentsOf(segments).tables;
  const tables = segment === undefined ? new Uint8Array(0) : readSegment(file, segment, `program_headers[${segments.indexOf(segment)}]`);
  const sums = segment === undefined ? undefined : readSums(tables, { source: file.name, base: segment.pOffset });
  const progress = onProgress === undefined ? {} : { onProgress };
  const place = { source: file.name, base: segment?.pOffset ?? 0n };
  const frames = segment === undefined ? [] : readFrames(tables, place, segmentsOf(segments).extents);
  const plain = frames.length > 0 ? new FramedBytes(file, frames) : file;
  return { file, header, segments, sections, checkpoint, tables, sums, frames, plain, ...progress };
}

type ContainerRule = Rule<Container>;

function containerRule(
  rule: Pick<ContainerRule, "code" | "severity" | "summary" | "spec">,
  check: (container: Container) => Iterable<Problem>,
): ContainerRule {
  return { ...rule, profile: "format", check };
}

interface Part {
  readonly name: string;
  readonly start: bigint;
  readonly end: bigint;
}

const partNames: ReadonlyMap<number, string> = new Map([
  [segmentTypeValues.ckpt_tables, "the tables"],
  [segmentTypeValues.ckpt_program, "the restore program"],
  [segmentTypeValues.ckpt_helper, "the helper"],
]);

/** Everything of the file that belongs to one part only, in file order. */
function partsOf({ header, segments, checkpoint, frames }: Container): Part[] {
  const firstFrame = BigInt(frames[0]?.offset ?? Number.MAX_SAFE_INTEGER);
  const part = (name: string, start: bigint, length: bigint): Part => ({ name, start, end: start + length });
  const parts = [
    part("the ELF header", 0n, BigInt(elfHeaderSize)),
    part("the program headers", header.ePhoff, BigInt(segments.length * programHeaderSize)),
    part("the section headers", header.eShoff, BigInt(header.eShnum * sectionHeaderSize)),
    ...segments.flatMap((segment, index) => {
      const name = partNames.get(segment.pType);
      return name === undefined ? [] : [part(`${name} (program_headers[${index}])`, segment.pOffset, segment.pFilesz)];
    }),
    ...rowsWithOwnBytes(checkpoint.tables).flatMap((row) => {
      const extent = checkpoint.tables.extents[row];
      if (extent === undefined || extent.source !== 0 || extent.fileOffset >= firstFrame) return [];
      return [part(`extents[${row}]`, extent.fileOffset, extent.length)];
    }),
    ...frames.map(({ fileOffset, stored }, index) => part(`frames[${index}]`, BigInt(fileOffset), BigInt(stored))),
  ];
  return parts.filter(({ start, end }) => end > start).sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
}

/** PF_R and PF_W, and what p_offset is a multiple of. */
const headerFields: ReadonlyMap<number, { readonly flags: number; readonly align: bigint }> = new Map([
  [segmentTypeValues.ckpt_tables, { flags: 4, align: 8n }],
  [segmentTypeValues.ckpt_program, { flags: 6, align: 4096n }],
  [segmentTypeValues.ckpt_extents, { flags: 4, align: 4096n }],
]);

const isPowerOfTwo = (value: bigint): boolean => (value & (value - 1n)) === 0n;

export const containerRules: readonly ContainerRule[] = [
  containerRule(
    {
      code: "container.overlap",
      severity: "error",
      summary: "No byte of the file belongs to two parts: headers, tables, program, stored bytes.",
      spec: "SPEC 3",
    },
    function* (container) {
      let before: Part | undefined;
      for (const part of partsOf(container)) {
        if (before !== undefined && part.start < before.end) {
          yield {
            message: `${part.name} and ${before.name} share bytes of the file`,
            place: { offset: part.start },
            expected: `from ${hex(before.end)} on`,
            actual: hex(part.start),
          };
        }
        if (before === undefined || part.end > before.end) before = part;
      }
    },
  ),
  containerRule(
    {
      code: "container.segments",
      severity: "error",
      summary: "One tables segment, at most one program, one helper and one segment of stored bytes, and no segment of version 1.",
      spec: "SPEC 2",
    },
    function* ({ segments }) {
      const most = new Map<number, number>([
        [segmentTypeValues.ckpt_tables, 1],
        [segmentTypeValues.ckpt_program, 1],
        [segmentTypeValues.ckpt_extents, 1],
        [segmentTypeValues.ckpt_helper, 1],
        [segmentTypeValues.ckpt_vma, 0],
        [segmentTypeValues.ckpt_core, 0],
        [segmentTypeValues.ckpt_pages, 0],
      ]);
      for (const [type, limit] of most) {
        const count = segments.filter(({ pType }) => pType === type).length;
        if (count > limit)
          yield {
            message: `there are ${count} segments of type ${hex(type)}`,
            place: { path: "program_headers" },
            expected: `at most ${limit}`,
            actual: String(count),
          };
      }
    },
  ),
  containerRule(
    {
      code: "container.segment-range",
      severity: "error",
      summary: "Every segment lies in the file, and p_align is a power of two.",
      spec: "SPEC 2",
    },
    function* ({ file, header, segments }) {
      for (const [index, { pOffset, pFilesz, pAlign }] of segments.entries()) {
        const path = `program_headers[${index}]`;
        const offset = header.ePhoff + BigInt(index * programHeaderSize);
        if (pOffset + pFilesz > file.size)
          yield {
            message: `segment ${index} reaches beyond the file`,
            place: { path: `${path}.p_filesz`, offset: offset + 32n },
            expected: `at most ${hex(file.size - (pOffset < file.size ? pOffset : file.size))}`,
            actual: hex(pFilesz),
          };
        if (!isPowerOfTwo(pAlign))
          yield {
            message: `segment ${index} has an odd alignment`,
            place: { path: `${path}.p_align`, offset: offset + 48n },
            expected: "a power of two",
            actual: hex(pAlign),
          };
      }
    },
  ),
  containerRule(
    {
      code: "container.header-fields",
      severity: "error",
      summary: "Flags and places in program headers are those of their kind: tables at a multiple of 8, the program as it says.",
      spec: "SPEC 2, 3",
    },
    function* ({ header, segments }) {
      for (const [index, segment] of segments.entries()) {
        const own = headerFields.get(segment.pType);
        if (own === undefined) continue;
        const check = (isRight: boolean, field: string, offset: number, expected: string, actual: bigint | number): Problem[] => {
          const at = header.ePhoff + BigInt(index * programHeaderSize + offset);
          const place = { path: `program_headers[${index}].${field}`, offset: at };
          return isRight ? [] : [{ message: `${field} of segment ${index} is wrong`, place, expected, actual: hex(actual) }];
        };
        yield* check(segment.pFlags === own.flags, "p_flags", 4, hex(own.flags), segment.pFlags);
        yield* check(segment.pOffset % own.align === 0n, "p_offset", 8, `a multiple of ${own.align}`, segment.pOffset);
        const isProgram = segment.pType === segmentTypeValues.ckpt_program;
        if (isProgram) yield* check(segment.pPaddr === segment.pVaddr, "p_paddr", 24, hex(segment.pVaddr), segment.pPaddr);
      }
    },
  ),
  containerRule(
    {
      code: "container.gaps",
      severity: "error",
      summary: "What lies between the tables, and behind an object's last byte up to its page's end, is zero.",
      spec: "SPEC 3, 4",
    },
    function* ({ file, plain, segments, tables: bytes, checkpoint }) {
      const segment = segmentsOf(segments).tables;
      if (segment === undefined) return;
      const { tables } = readTableDirectory(bytes, { source: file.name, base: segment.pOffset });
      let end = tablesHeaderSize + tables.length * directoryEntrySize;
      for (const table of [...tables].sort((a, b) => a.offset - b.offset)) {
        const gap = bytes.subarray(end, Math.max(end, table.offset));
        const wrong = gap.findIndex((byte) => byte !== 0);
        if (wrong >= 0)
          yield { message: "a byte between tables is not zero", place: { path: "tables", offset: segment.pOffset + BigInt(end + wrong) } };
        end = Math.max(end, table.offset + table.rowCount * table.rowLength);
      }
      for (const [row, { fileOffset, length, source }] of checkpoint.tables.extents.entries()) {
        const rest = Number(-length & 4095n);
        if (rest === 0 || source !== 0 || fileOffset + length + BigInt(rest) > plain.size) continue;
        const wrong = plain.read(fileOffset + length, rest).findIndex((byte) => byte !== 0);
        if (wrong >= 0)
          yield {
            message: `a byte behind the end of extents[${row}] is not zero`,
            place: { path: `extents[${row}]`, offset: fileOffset + length + BigInt(wrong) },
          };
      }
    },
  ),
  containerRule(
    {
      code: "container.executable",
      severity: "error",
      summary: "An executable image has its entry point in an executable PT_LOAD, and few enough headers for execve.",
      spec: "SPEC 2",
    },
    function* ({ header, segments }) {
      const hasProgram = segments.some(({ pType }) => pType === segmentTypeValues.ckpt_program);
      if (hasProgram !== (header.eType === 2))
        yield {
          message: hasProgram
            ? "the image has a restore program and is not executable"
            : "the image is executable and has no restore program",
          place: { path: "elf_header.e_type", offset: 16n },
          expected: hasProgram ? "2 (ET_EXEC)" : "0 (ET_NONE)",
          actual: String(header.eType),
        };
      if (header.eType !== 2) return;
      const entry = segments.some(({ pType, pFlags, pVaddr, pMemsz }) => {
        return pType === segmentTypeValues.load && (pFlags & 1) !== 0 && header.eEntry >= pVaddr && header.eEntry < pVaddr + pMemsz;
      });
      if (!entry)
        yield {
          message: "the entry point lies in no executable segment",
          place: { path: "elf_header.e_entry", offset: 24n },
          actual: hex(header.eEntry),
        };
      if (segments.length * programHeaderSize > 65536)
        yield {
          message: "Linux does not execute a file with so many program headers",
          place: { path: "elf_header.e_phnum", offset: 56n },
          expected: "at most 1170",
          actual: String(segments.length),
        };
    },
  ),
  containerRule(
    { code: "container.load-hole", severity: "error", summary: "The interpreter is loaded where no task has a mapping.", spec: "SPEC 10" },
    function* ({ segments, checkpoint }) {
      for (const [index, { pType, pVaddr, pMemsz }] of segments.entries()) {
        if (pType !== segmentTypeValues.load) continue;
        const row = checkpoint.tables.vmas.findIndex((vma) => vma.start < pVaddr + pMemsz && vma.end > pVaddr);
        const vma = checkpoint.tables.vmas[row];
        if (vma !== undefined)
          yield {
            message: `segment ${index} would be loaded over a mapping of the program`,
            place: { path: `program_headers[${index}].p_vaddr` },
            expected: `outside ${hex(vma.start)}-${hex(vma.end)}`,
            actual: hex(pVaddr),
          };
      }
    },
  ),
  containerRule(
    {
      code: "container.sections",
      severity: "warning",
      summary: "Section headers can be read, lie in the file, and name the tables where the directory has them.",
      spec: "SPEC 3",
    },
    function* ({ file, header, segments, sections, tables: bytes }) {
      if (header.eShoff === 0n) return;
      if (sections.length === 0) {
        yield { message: "the section headers cannot be read", place: { path: "section_headers", offset: header.eShoff } };
        return;
      }
      for (const [index, { shType, shOffset, shSize }] of sections.entries()) {
        const hasBytes = shType !== 0 && shType !== 8;
        if (hasBytes && shOffset + shSize > file.size)
          yield {
            message: `section ${index} reaches beyond the file`,
            place: { path: `section_headers[${index}].sh_size` },
            actual: hex(shSize),
          };
      }
      const tables = segments.find(({ pType }) => pType === segmentTypeValues.ckpt_tables);
      if (tables === undefined) return;
      const starts = new Set(sections.map(({ shOffset }) => shOffset));
      for (const table of readTableDirectory(bytes, { source: file.name, base: tables.pOffset }).tables) {
        const start = tables.pOffset + BigInt(table.offset);
        if (table.name === undefined || table.rowCount === 0 || starts.has(start)) continue;
        yield { message: `no section describes the table ${table.name}`, place: { path: "section_headers", offset: start } };
      }
    },
  ),
];
