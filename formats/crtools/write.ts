// SPDX-License-Identifier: Apache-2.0
/** A checkpoint as a set. */
import { writeFully } from "../../src/pages/file-source.js";
import type { WriteOptions } from "../../src/adapter/format.js";
import type { Output } from "../../src/adapter/output.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { coreEntrySize, vmaEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import { imageMagicSize } from "../../src/gen/crtools-2011.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { type FilePages, filePagesOf } from "../../src/rfc2011/file-pages.js";
import { ForeignIndex, foreignKeys } from "../../src/rfc2011/foreign.js";
import { type StoredRun, writePageList } from "../../src/rfc2011/page-list.js";
import { recordsOf, writableTasks } from "../../src/rfc2011/process-records.js";
import { bytesOf, inKeptOrder, mergeRuns, privateRuns, sharedRuns } from "../../src/rfc2011/stored-pages.js";
import { fdinfoBytes, pipesBytes } from "./descriptors.js";
import { type ImageKind, imageMagics, imageName } from "./image-files.js";
import { pstreeBytes } from "./pstree.js";
import { shmemBytes } from "./shmem.js";

/** Page lists of one process, in the order of their files. */
interface ProcessPages {
  readonly core: readonly StoredRun[];
  readonly shmem: readonly StoredRun[];
  /** pages-PID.img; undefined: not written. */
  readonly working: readonly StoredRun[] | undefined;
}

/** Writes all files of a set. @throws CrimgError `rfc2011.pid` and what page sources say */
export function writeCrtools(checkpoint: Checkpoint, output: Output, options: WriteOptions): void {
  const foreign = new ForeignIndex(checkpoint.tables);
  const tasks = writableTasks(checkpoint, options.pid);
  const withWorking = options.extra?.["working-pages"] !== false;
  const bundle = options.bundle === true;
  const filePages = tasks.map((task) => filePagesOf(checkpoint, task, bundle));
  const pages = tasks.map((task, index) => pagesOf(checkpoint, task, foreign, { withWorking, bundle, files: filePages[index] }));
  const total = pages.reduce((sum, { core, shmem, working }) => sum + bytesOf(core) + bytesOf(shmem) + bytesOf(working ?? []), 0n);
  let done = 0n;
  const onPages = (bytes: bigint): void => options.onProgress?.((done += bytes), total);
  try {
    options.onProgress?.(0n, total);
    tasks.forEach((task, index) => {
      const lists = pages[index];
      if (lists) writeProcess(checkpoint, output, task, lists, foreign, onPages);
    });
  } finally {
    for (const { close } of filePages) close();
  }
  const root = tasks[0];
  if (root === undefined) return;
  // The tree comes last: a set without it is not whole.
  const isWhole = tasks.length === checkpoint.tables.tasks.length;
  const kept = isWhole ? foreign.get("checkpoint", 0, foreignKeys.pstree) : undefined;
  writeSmall(output, "pstree", checkpoint.tables.tasks[root]?.pid ?? 0, kept ?? pstreeBytes(checkpoint, tasks));
}

interface PageOptions {
  readonly withWorking: boolean;
  readonly bundle: boolean;
  readonly files: FilePages | undefined;
}

function pagesOf(checkpoint: Checkpoint, task: number, foreign: ForeignIndex, { withWorking, bundle, files }: PageOptions): ProcessPages {
  const privately = mergeRuns(mergeRuns(privateRuns(checkpoint, task), files?.privately ?? []), files?.shared ?? []);
  const shared = sharedRuns(checkpoint, task);
  const all = mergeRuns(privately, shared);
  const hasWorking = withWorking && !foreign.has("tasks", task, foreignKeys.noWorkingPages);
  if (bundle) return { core: privately, shmem: shared, working: hasWorking ? all : undefined };
  return {
    core: inKeptOrder(foreign, task, foreignKeys.corePages, privately, all),
    shmem: inKeptOrder(foreign, task, foreignKeys.shmemPages, shared, all),
    working: hasWorking ? inKeptOrder(foreign, task, foreignKeys.workingPages, all, all) : undefined,
  };
}

function writeProcess(
  checkpoint: Checkpoint,
  output: Output,
  task: number,
  pages: ProcessPages,
  foreign: ForeignIndex,
  onPages: (bytes: bigint) => void,
): void {
  const { pid, core, vmas } = recordsOf(checkpoint, task, foreign);
  const head = new ByteWriter(imageMagicSize + coreEntrySize + (vmas.length + 1) * vmaEntrySize);
  head.u4(imageMagics.core);
  head.bytes(core);
  for (const vma of vmas) head.bytes(vma);
  head.zeros(vmaEntrySize);
  const file = output.create(imageName("core", pid));
  writeFully(file.fd, head.finish(), 0n);
  writePageList(file.fd, BigInt(head.length), pages.core, onPages);
  writePages(output, "pages-shmem", pid, pages.shmem, onPages);
  if (pages.working) writePages(output, "pages", pid, pages.working, onPages);
  writeSmall(output, "fdinfo", pid, foreign.get("tasks", task, foreignKeys.fdinfo) ?? fdinfoBytes(checkpoint, task));
  writeSmall(output, "pipes", pid, foreign.get("tasks", task, foreignKeys.pipes) ?? pipesBytes(checkpoint, task));
  writeSmall(output, "shmem", pid, foreign.get("tasks", task, foreignKeys.shmem) ?? shmemBytes(checkpoint, task));
}

function writePages(output: Output, kind: ImageKind, pid: number, runs: readonly StoredRun[], onPages: (bytes: bigint) => void): void {
  const file = output.create(imageName(kind, pid));
  writeFully(file.fd, magicOf(kind), 0n);
  writePageList(file.fd, BigInt(imageMagicSize), runs, onPages);
}

function writeSmall(output: Output, kind: ImageKind, pid: number, body: Uint8Array): void {
  const file = output.create(imageName(kind, pid));
  writeFully(file.fd, magicOf(kind), 0n);
  writeFully(file.fd, body, BigInt(imageMagicSize));
}

function magicOf(kind: ImageKind): Uint8Array {
  const writer = new ByteWriter(imageMagicSize);
  writer.u4(imageMagics[kind]);
  return writer.finish();
}
