// SPDX-License-Identifier: Apache-2.0
/** A task of a checkpoint as an ET_CKPT file, laid out as the converter of 2011 did. */
import type { WriteOptions } from "../../src/adapter/format.js";
import type { Output } from "../../src/adapter/output.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { imageHeader } from "../../src/elf/writing.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { coreEntrySize, maxPages, maxVmas, readCoreEntry, readVmaEntry, vmaEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import {
  type ProgramHeader,
  elfHeaderSize,
  elfTypeValues,
  programHeaderSize,
  segmentTypeValues,
  writeElfHeader,
  writeProgramHeader,
} from "../../src/gen/elf64.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { writeFully } from "../../src/pages/file-source.js";
import { type FilePages, filePagesOf } from "../../src/rfc2011/file-pages.js";
import { ForeignIndex, foreignKeys } from "../../src/rfc2011/foreign.js";
import { type StoredRun, countPages, pageListBytes, writePageList } from "../../src/rfc2011/page-list.js";
import { type ProcessRecords, pidsOf, recordsOf, writableTasks } from "../../src/rfc2011/process-records.js";
import { bytesOf, inKeptOrder, mergeRuns, privateRuns, sharedRuns } from "../../src/rfc2011/stored-pages.js";
import { formatId } from "./headers.js";

/** The flags of a program header from a protection: the bits run the other way round. */
function segmentFlags(prot: number): number {
  return (prot & 1 ? 4 : 0) | (prot & 2 ? 2 : 0) | (prot & 4 ? 1 : 0);
}

/** The one task to write. @throws CrimgError `v1.tree` where there are several and none was chosen */
export function taskToWrite(checkpoint: Checkpoint, pid: number | undefined): number {
  const tasks = writableTasks(checkpoint, pid);
  const [task] = tasks;
  if (task !== undefined && tasks.length === 1) return task;
  throw new CrimgError("v1.tree", `an image of version 1 holds one process, and there are ${tasks.length} here`, {
    format: formatId,
    hint: task === undefined ? "there is no process with memory" : `choose one with --pid: ${pidsOf(checkpoint, tasks)}`,
  });
}

/** Pages of a task, and what must be closed when they are written. */
export interface PagesToWrite {
  readonly runs: readonly StoredRun[];
  readonly files: FilePages | undefined;
}

/**
 * Pages of a task. The converter of 2011 wrote the private pages that the set had; the restorer appended those of
 * shared memory. A set is converted as the converter did. From anywhere else, shared memory and the clean pages of
 * mapped files come along: an image cannot name files, so that without them nobody could resume it.
 */
export function pagesToWrite(checkpoint: Checkpoint, task: number, options: WriteOptions): PagesToWrite {
  const foreign = new ForeignIndex(checkpoint.tables);
  const files = storesFiles(checkpoint, options) ? filePagesOf(checkpoint, task, true) : undefined;
  const privately = mergeRuns(mergeRuns(privateRuns(checkpoint, task), files?.privately ?? []), files?.shared ?? []);
  const shared = storesShared(checkpoint, options) ? sharedRuns(checkpoint, task) : [];
  const usual = [...privately, ...shared];
  if (options.bundle === true) return { runs: usual, files };
  return { runs: inKeptOrder(foreign, task, foreignKeys.corePages, usual, mergeRuns(privately, shared)), files };
}

function storesFiles(checkpoint: Checkpoint, options: WriteOptions): boolean {
  const source = checkpoint.tables.checkpoint[0]?.sourceFormat ?? "";
  return options.bundle === true || !(source === "crtools" || source === formatId);
}

export function storesShared(checkpoint: Checkpoint, options: WriteOptions): boolean {
  const asked = options.extra?.["shared-memory"];
  return typeof asked === "boolean" ? asked : checkpoint.tables.checkpoint[0]?.sourceFormat !== "crtools";
}

/** Writes the image. @throws CrimgError `v1.tree`, `v1.vmas`, `v1.pages`, and what page sources say */
export function writeCkptElfV1(checkpoint: Checkpoint, output: Output, options: WriteOptions): void {
  const task = taskToWrite(checkpoint, options.pid);
  const records = recordsOf(checkpoint, task, new ForeignIndex(checkpoint.tables));
  const { runs, files } = pagesToWrite(checkpoint, task, options);
  try {
    const pages = countPages(runs);
    assertLimits(records, pages);
    const file = output.file();
    const head = headOf(records, pages);
    writeFully(file.fd, head, 0n);
    const total = bytesOf(runs);
    let done = 0n;
    options.onProgress?.(0n, total);
    writePageList(file.fd, BigInt(head.length), runs, (bytes) => options.onProgress?.((done += bytes), total));
  } finally {
    files?.close();
  }
}

function assertLimits({ pid, vmas }: ProcessRecords, pages: number): void {
  if (vmas.length > maxVmas) {
    throw new CrimgError("v1.vmas", `an image of version 1 holds at most ${maxVmas} areas, and process ${pid} has ${vmas.length}`, {
      format: formatId,
      hint: "use ckpt-elf or crtools",
    });
  }
  if (pages > maxPages) {
    throw new CrimgError("v1.pages", `an image of version 1 holds at most ${maxPages} pages (1 GiB), and process ${pid} has ${pages}`, {
      format: formatId,
      hint: "use ckpt-elf or crtools",
    });
  }
}

/** Everything in front of the pages: headers, areas, core. */
function headOf({ core, vmas }: ProcessRecords, pages: number): Uint8Array {
  const numSegments = vmas.length + 2;
  const writer = new ByteWriter();
  writeElfHeader(
    writer,
    imageHeader({
      eiClass: 2,
      eiData: 1,
      eiVersion: 1,
      eType: elfTypeValues.ckpt,
      eEntry: readCoreEntry(new ByteReader(core)).gpregs.ip,
      ePhnum: numSegments,
    }),
  );
  let offset = BigInt(elfHeaderSize + numSegments * programHeaderSize);
  const add = (header: Omit<ProgramHeader, "pOffset" | "pPaddr" | "pAlign">): void => {
    writeProgramHeader(writer, { ...header, pOffset: offset, pPaddr: header.pVaddr, pAlign: 0x1000n });
    offset += header.pFilesz;
  };
  for (const bytes of vmas) {
    const { start, end, prot } = readVmaEntry(new ByteReader(bytes));
    add({
      pType: segmentTypeValues.ckpt_vma,
      pFlags: segmentFlags(prot),
      pVaddr: start,
      pFilesz: BigInt(vmaEntrySize),
      pMemsz: end - start,
    });
  }
  const coreLength = BigInt(coreEntrySize);
  add({ pType: segmentTypeValues.ckpt_core, pFlags: 4, pVaddr: 0n, pFilesz: coreLength, pMemsz: coreLength });
  const pagesLength = pageListBytes(pages);
  add({ pType: segmentTypeValues.ckpt_pages, pFlags: 4, pVaddr: 0n, pFilesz: pagesLength, pMemsz: pagesLength });
  for (const bytes of vmas) writer.bytes(bytes);
  writer.bytes(core);
  return writer.finish();
}
