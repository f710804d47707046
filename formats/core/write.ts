// SPDX-License-Identifier: Apache-2.0
/** Model → cores. */
import { ftruncateSync } from "node:fs";
import type { WriteOptions } from "../../src/adapter/format.js";
import type { Output, OutputFile } from "../../src/adapter/output.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { imageHeader } from "../../src/elf/writing.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  elfHeaderSize,
  elfTypeValues,
  pnXnum,
  programHeader,
  programHeaderSize,
  sectionHeader,
  sectionHeaderSize,
  segmentTypeValues,
  writeElfHeader,
  writeProgramHeader,
  writeSectionHeader,
} from "../../src/gen/elf64.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { PageCopies } from "../../src/pages/page-copies.js";
import { writeFully } from "../../src/pages/file-source.js";
import { MappedFiles } from "../../src/pages/mapped-files.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { storedVdso } from "../../src/model/vdso-image.js";
import { ownVdso } from "../../src/pages/own-vdso.js";
import { segmentsOf, type Segment } from "./segments.js";
import { notesOf } from "./write-notes.js";
import { chosenTasks } from "./tasks.js";

const pageSize = 4096n;

/** Writes one core into the file of the output, or one a process into its directory. */
export async function writeCores(checkpoint: Checkpoint, output: Output, options: WriteOptions, isDirectory: boolean): Promise<void> {
  const tasks = chosenTasks(checkpoint, options.pid).filter((task) => checkpoint.tables.tasks[task]?.mm !== null);
  if (tasks.length === 0) throw new CrimgError("core.nothing", "there is no process with memory to write a core of", { format: "core" });
  const files = new MappedFiles(checkpoint.tables);
  const isFull = options.bundle === true || options.extra?.["full"] === true;
  try {
    const cores = tasks.map((task) => layOut(checkpoint, task, files, isFull));
    const copies = new PageCopies(options.onProgress);
    for (const { bytes } of cores) copies.expect(bytes);
    for (const core of cores) {
      const pid = checkpoint.tables.tasks[core.task]?.pid ?? 0;
      await writeCore(core, isDirectory ? output.create(`core.${pid}`) : output.file(), copies);
    }
  } finally {
    files.close();
  }
}

interface Core {
  readonly task: number;
  readonly memory: MemoryView;
  readonly segments: readonly Segment[];
  readonly notes: Uint8Array;
  /** Bytes to copy. */
  readonly bytes: bigint;
}

function layOut(checkpoint: Checkpoint, task: number, files: MappedFiles, isFull: boolean): Core {
  const mm = checkpoint.tables.tasks[task]?.mm ?? -1;
  const memory = new MemoryView(checkpoint, mm, files);
  const buildId = checkpoint.tables.checkpoint[0]?.vdsoBuildId;
  const vdso = storedVdso(checkpoint) ?? (buildId && ownVdso(buildId));
  const segments = segmentsOf(checkpoint, memory, { isFull, vdso });
  const bytes = segments.reduce(
    (sum, { runs }) => runs.reduce((part, run) => (run.origin.kind === "zero" ? part : part + run.length), sum),
    0n,
  );
  return { task, memory, segments, notes: notesOf(checkpoint, task, memory), bytes };
}

/** ELF header, program headers, notes; then, page-aligned, the memory; then section 0 if PN_XNUM needs it. */
async function writeCore({ memory, segments, notes }: Core, { fd }: OutputFile, copies: PageCopies): Promise<void> {
  const count = segments.length + 1;
  const notesOffset = BigInt(elfHeaderSize + count * programHeaderSize);
  const dataOffset = roundUp(notesOffset + BigInt(notes.length));
  let end = dataOffset + segments.reduce((sum, { fileSize }) => sum + fileSize, 0n);
  const hasMany = count >= pnXnum;
  const head = new ByteWriter(Number(notesOffset) + notes.length);
  writeElfHeader(
    head,
    imageHeader({
      eType: elfTypeValues.core,
      ePhnum: hasMany ? pnXnum : count,
      eShoff: hasMany ? end : 0n,
      eShnum: hasMany ? 1 : 0,
    }),
  );
  writeProgramHeader(
    head,
    programHeader({ pType: segmentTypeValues.note, pOffset: notesOffset, pFilesz: BigInt(notes.length), pAlign: 4n }),
  );
  let offset = dataOffset;
  for (const { start, end: segmentEnd, flags, fileSize } of segments) {
    writeProgramHeader(
      head,
      programHeader({
        pType: segmentTypeValues.load,
        pFlags: flags,
        pOffset: offset,
        pVaddr: start,
        pFilesz: fileSize,
        pMemsz: segmentEnd - start,
        pAlign: pageSize,
      }),
    );
    offset += fileSize;
  }
  head.bytes(notes);
  writeFully(fd, head.finish(), 0n);
  offset = dataOffset;
  for (const segment of segments) {
    if (segment.bytes) writeFully(fd, segment.bytes, offset);
    else await memory.copyRuns(segment.runs, fd, offset, copies);
    offset += segment.fileSize;
  }
  if (hasMany) {
    // gABI: sh_info of section 0 has the number of program headers, sh_size that of sections.
    const section = new ByteWriter(sectionHeaderSize);
    writeSectionHeader(section, sectionHeader({ shSize: 1n, shInfo: count }));
    writeFully(fd, section.finish(), end);
    end += BigInt(sectionHeaderSize);
  }
  ftruncateSync(fd, Number(end));
}

function roundUp(offset: bigint): bigint {
  return (offset + pageSize - 1n) & ~(pageSize - 1n);
}
