// SPDX-License-Identifier: Apache-2.0
/** An ET_CKPT file as a checkpoint. */
import { basename } from "node:path";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { type VmaEntry, readVmaEntry, vmaEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import type { ReadOptions } from "../../src/adapter/format.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { classifyAreas } from "../../src/rfc2011/classify.js";
import { addSortedPages, sortPages } from "../../src/rfc2011/core-image.js";
import { parseCore, readCoreBytes } from "../../src/rfc2011/core.js";
import { encodeRanges, foreignKeys } from "../../src/rfc2011/foreign.js";
import { ModelBuilder } from "../../src/rfc2011/model-builder.js";
import { InterleavedPages, type PageList, readPageList } from "../../src/rfc2011/page-list.js";
import { privateRuns, rangesOf, sameRanges, sharedRuns } from "../../src/rfc2011/stored-pages.js";
import { assertEntries } from "../../src/rfc2011/vma.js";
import { type CkptHeaders, formatId, readCkptHeaders } from "./headers.js";
import { pathResolver } from "./resolve-files.js";

const maxPid = 4_194_304;

/** Reads an image. Of the pages only the addresses are read. */
export function readCkptElfV1(path: string, options: ReadOptions): Checkpoint {
  const bytes = FileBytes.open(path);
  const builder = new ModelBuilder(formatId);
  try {
    const headers = readCkptHeaders(bytes);
    const coreOffset = headers.core.header.pOffset;
    const raw = readCoreBytes(bytes, coreOffset, formatId);
    const core = parseCore(raw, { source: path, base: coreOffset, path: "core", format: formatId });
    const vmas = readVmas(bytes, headers);
    const pid = pidOf(vmas, path);
    if (options.pid !== undefined && options.pid !== pid) {
      throw new CrimgError("v1.pid", `there is no process ${options.pid} in this image`, {
        source: path,
        format: formatId,
        hint: `it holds process ${pid}`,
      });
    }
    const { pOffset: offset, pFilesz } = headers.pages.header;
    const list = readPageList({ bytes, offset, limit: offset + pFilesz, format: formatId, path: "pages" });
    const pathOf = pathResolver(path, pid, options.extra?.["map-fd"] === true);
    const areas = classifyAreas(vmas, list.runs, pathOf, { source: path, format: formatId });
    const pages = sortPages(list, vmas, (vma) => areas[vma]?.kind === "anon_shared", { source: path, path: "pages", format: formatId });
    const rows = builder.addProcess({ pid, parent: null, core, coreBytes: raw, vmas, areas });
    if (list.count > 0) {
      const source = builder.addSource(new InterleavedPages(FilePageSource.open(path), offset));
      addSortedPages(builder, rows, pages, source);
    }
    builder.addStandardDescriptors(rows.task, new Set());
    const checkpoint = builder.finish();
    keepOrder(builder, checkpoint, rows.task, list);
    return checkpoint;
  } catch (error) {
    builder.discard();
    throw error;
  } finally {
    bytes.close();
  }
}

function readVmas(bytes: FileBytes, { vmas }: CkptHeaders): VmaEntry[] {
  const entries = vmas.map(({ header, index }) =>
    readVmaEntry(
      new ByteReader(bytes.read(header.pOffset, vmaEntrySize), {
        source: bytes.name,
        base: header.pOffset,
        path: `vmas[${index}]`,
        format: formatId,
      }),
    ),
  );
  assertEntries(entries, (index) => ({
    source: bytes.name,
    offset: vmas[index]?.header.pOffset ?? 0n,
    path: `vmas[${index}]`,
    format: formatId,
  }));
  return entries;
}

/** The pid is in every mapping; an image without areas of a process has it in its name at most. */
function pidOf(vmas: readonly VmaEntry[], path: string): number {
  const stated = vmas.map((vma) => vma.pid).find((pid) => pid > 0 && pid <= maxPid);
  const named = Number(/([1-9][0-9]{0,6})\.elf$/.exec(basename(path))?.[1] ?? 0);
  const pid = stated ?? (named <= maxPid ? named : 0);
  if (pid > 0) return pid;
  throw new CrimgError("v1.pid", `no area names a process: a pid must be 1 to ${maxPid}`, {
    source: path,
    path: "vmas[0].pid",
    format: formatId,
  });
}

/** Keeps the order of the pages where writing the model again would give another. */
function keepOrder(builder: ModelBuilder, checkpoint: Checkpoint, task: number, list: PageList): void {
  const usual = [...privateRuns(checkpoint, task), ...sharedRuns(checkpoint, task)];
  if (!sameRanges(list.runs, usual)) builder.keep("tasks", task, foreignKeys.corePages, encodeRanges(rangesOf(list.runs)));
}
