// SPDX-License-Identifier: Apache-2.0
/** A set as a checkpoint. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ByteReader } from "../../src/bytes/byte-reader.js";
import { decodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { coreEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import { type FdinfoEntry, type PipeEntry, fdinfoTypeValues } from "../../src/gen/crtools-2011.js";
import type { ReadOptions } from "../../src/adapter/format.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { classifyAreas } from "../../src/rfc2011/classify.js";
import { type SortedPages, addSortedPages, readVmaList, sortPages } from "../../src/rfc2011/core-image.js";
import { parseCore, readCoreBytes } from "../../src/rfc2011/core.js";
import { encodeRanges, foreignKeys, sameBytes } from "../../src/rfc2011/foreign.js";
import { ModelBuilder, type ProcessRows } from "../../src/rfc2011/model-builder.js";
import { InterleavedPages, type PageList, readPageList } from "../../src/rfc2011/page-list.js";
import { mergeRuns, privateRuns, rangesOf, sameRanges, sharedRuns } from "../../src/rfc2011/stored-pages.js";
import { addDescriptors, fdinfoBytes, pipesBytes, readFdinfo, readPipes } from "./descriptors.js";
import { type ImageKind, bodyOffset, entriesOf, formatId, imageName, openImage, pidsWith, readSmallImage } from "./image-files.js";
import { type TreeNode, pstreeBytes, readPstree, treeOf } from "./pstree.js";
import { checkShmem, shmemBytes } from "./shmem.js";

/** Everything of one process that is read before the model is made. */
interface ProcessImages {
  readonly rows: ProcessRows;
  readonly fdinfo: readonly FdinfoEntry[];
  readonly pipes: readonly PipeEntry[];
  /** Bodies of the small images. */
  readonly raw: { readonly fdinfo: Uint8Array; readonly pipes: Uint8Array; readonly shmem: Uint8Array };
  readonly core: PageList;
  readonly shmem: PageList;
  /** pages-PID.img, if it is there. */
  readonly working?: PageList;
}

/** Reads a set. Of the pages only the addresses are read. */
export function readCrtools(directory: string, options: ReadOptions): Checkpoint {
  const { nodes, raw } = readTree(directory, options.pid);
  const builder = new ModelBuilder(formatId);
  try {
    const processes = nodes.map((node) => readProcess(builder, directory, node));
    processes.forEach((process) => addDescriptors(builder, process.rows.task, process.fdinfo, process.pipes));
    const checkpoint = builder.finish();
    processes.forEach((process) => keepDifferences(builder, checkpoint, process));
    if (raw && !sameBytes(pstreeBytes(checkpoint, [...nodes.keys()]), raw)) builder.keep("checkpoint", 0, foreignKeys.pstree, raw);
    return checkpoint;
  } catch (error) {
    builder.discard();
    throw error;
  }
}

/** The processes to read. @throws CrimgError `crtools.pstree`, `crtools.pid` */
function readTree(directory: string, pid: number | undefined): { readonly nodes: TreeNode[]; readonly raw?: Uint8Array } {
  const entries = entriesOf(directory);
  const roots = pidsWith(entries, "pstree");
  const cores = pidsWith(entries, "core");
  if (pid !== undefined) {
    if (cores.includes(pid)) return { nodes: [{ pid, parent: null }] };
    throw new CrimgError("crtools.pid", `there is no process ${pid} in this set`, {
      source: directory,
      format: formatId,
      hint: `the processes are ${cores.join(", ")}`,
    });
  }
  const [root] = roots;
  if (root === undefined) {
    const [only] = cores;
    // crtools -p dumps one process; a set of one needs no tree.
    if (only !== undefined && cores.length === 1) return { nodes: [{ pid: only, parent: null }] };
    throw new CrimgError("crtools.pstree", "there is no pstree-PID.img, so the tree is not known", {
      source: directory,
      format: formatId,
      hint: cores.length > 0 ? `choose a process with --pid: ${cores.join(", ")}` : "is this the directory that crtools -d wrote?",
    });
  }
  if (roots.length > 1) {
    throw new CrimgError("crtools.pstree", `there are the trees of several processes here: ${roots.join(", ")}`, {
      source: directory,
      format: formatId,
      hint: "choose one process with --pid, or move the sets apart",
    });
  }
  const reader = readSmallImage(directory, "pstree", root);
  const tree = readPstree(reader);
  if (tree[0]?.pid !== root) {
    throw new CrimgError(
      "crtools.pstree",
      `the first process of the tree must be ${root}, as the file's name says; found ${tree[0]?.pid}`,
      {
        source: reader.place.source,
        offset: bodyOffset,
        path: "pstree[0].pid",
        format: formatId,
      },
    );
  }
  return { nodes: treeOf(tree, reader), raw: bodyOf(reader) };
}

/** All bytes of a small image behind its magic. */
function bodyOf(reader: ByteReader): Uint8Array {
  reader.seek(0);
  return reader.bytes(reader.remaining);
}

function readProcess(builder: ModelBuilder, directory: string, node: TreeNode): ProcessImages {
  const { pid } = node;
  const fdinfoReader = readSmallImage(directory, "fdinfo", pid);
  const fdinfo = readFdinfo(fdinfoReader);
  const pipesReader = readSmallImage(directory, "pipes", pid);
  const pipes = readPipes(pipesReader);
  const shmemReader = readSmallImage(directory, "shmem", pid);
  checkShmem(shmemReader);
  const paths = new Map(fdinfo.filter(({ type }) => type === fdinfoTypeValues.map).map(({ addr, path }) => [addr, decodeText(path)]));
  const bytes = openImage(directory, "core", pid);
  try {
    const raw = readCoreBytes(bytes, bodyOffset, formatId);
    const core = parseCore(raw, { source: bytes.name, base: bodyOffset, path: "core", format: formatId });
    const { vmas, endOffset } = readVmaList(bytes, bodyOffset + BigInt(coreEntrySize), formatId);
    const list = readPageList({ bytes, offset: endOffset, limit: bytes.size, format: formatId, path: "pages" });
    const shmem = readPagesImage(directory, "pages-shmem", pid);
    const place = { source: bytes.name, format: formatId };
    const areas = classifyAreas(vmas, [...list.runs, ...shmem.runs], (vma) => paths.get(vma.start), place);
    const rows = builder.addProcess({ pid, parent: node.parent, core, coreBytes: raw, vmas, areas });
    const isShared = (vma: number): boolean => areas[vma]?.kind === "anon_shared";
    const sort = (pages: PageList, source: string): SortedPages =>
      sortPages(pages, vmas, isShared, { source, path: "pages", format: formatId });
    const add = (kind: ImageKind, pages: PageList, offset: bigint): void => {
      const path = join(directory, imageName(kind, pid));
      if (pages.count === 0) return;
      const source = builder.addSource(new InterleavedPages(FilePageSource.open(path), offset));
      addSortedPages(builder, rows, sort(pages, path), source);
    };
    add("core", list, endOffset);
    add("pages-shmem", shmem, bodyOffset);
    // The working file holds the pages of the two others once more: its addresses are read, its pages are not used.
    const working = existsSync(join(directory, imageName("pages", pid))) ? readPagesImage(directory, "pages", pid) : undefined;
    const small = { fdinfo: bodyOf(fdinfoReader), pipes: bodyOf(pipesReader), shmem: bodyOf(shmemReader) };
    return { rows, fdinfo, pipes, raw: small, core: list, shmem, working };
  } finally {
    bytes.close();
  }
}

function readPagesImage(directory: string, kind: "pages" | "pages-shmem", pid: number): PageList {
  const bytes = openImage(directory, kind, pid);
  try {
    return readPageList({ bytes, offset: bodyOffset, limit: bytes.size, format: formatId, path: "pages" });
  } finally {
    bytes.close();
  }
}

/** Keeps what writing the model again would not give. */
function keepDifferences(builder: ModelBuilder, checkpoint: Checkpoint, process: ProcessImages): void {
  const { task } = process.rows;
  const { raw } = process;
  if (!sameBytes(fdinfoBytes(checkpoint, task), raw.fdinfo)) builder.keep("tasks", task, foreignKeys.fdinfo, raw.fdinfo);
  if (!sameBytes(pipesBytes(checkpoint, task), raw.pipes)) builder.keep("tasks", task, foreignKeys.pipes, raw.pipes);
  if (!sameBytes(shmemBytes(checkpoint, task), raw.shmem)) builder.keep("tasks", task, foreignKeys.shmem, raw.shmem);
  const [privately, shared] = [privateRuns(checkpoint, task), sharedRuns(checkpoint, task)];
  const lists = [
    [foreignKeys.corePages, process.core, privately],
    [foreignKeys.shmemPages, process.shmem, shared],
    [foreignKeys.workingPages, process.working, mergeRuns(privately, shared)],
  ] as const;
  for (const [key, found, usual] of lists) {
    if (found && !sameRanges(found.runs, usual)) builder.keep("tasks", task, key, encodeRanges(rangesOf(found.runs)));
  }
  if (!process.working) builder.keep("tasks", task, foreignKeys.noWorkingPages, new Uint8Array(0));
}
