// SPDX-License-Identifier: Apache-2.0
/** Checkpoint images of DMTCP (image version 4.0), plain or gzip'd: read only. */
import { closeSync } from "node:fs";
import type { FormatAdapter, Loss, ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { imageHeaderSize } from "../../src/gen/dmtcp.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { gunzipToTemporary, mostBytesOf } from "./gunzip.js";
import { imageMagic, readImage } from "./image.js";
import { isGzipOfImage } from "./probe.js";
import { toTables } from "./to-model.js";

/** What DMTCP's images do not say, or say in a form that only its own library reads. */
const losses: readonly Loss[] = [
  {
    code: "dmtcp.registers",
    facet: "registers",
    count: 1,
    text: "the image holds no registers: DMTCP keeps thread contexts in the memory of its own library",
  },
  {
    code: "dmtcp.threads",
    facet: "threads",
    count: 1,
    text: "which threads there are is known to DMTCP's library only: one is shown, with empty registers",
  },
  { code: "dmtcp.descriptors", facet: "files", count: 1, text: "descriptors are known to DMTCP's plugins only" },
  { code: "dmtcp.shared-memory", facet: "shared-memory", count: 1, text: "DMTCP saves shared anonymous memory as private" },
  { code: "dmtcp.signals", facet: "signals", count: 1, text: "signal actions and pending signals are known to DMTCP's library only" },
  { code: "dmtcp.timers", facet: "timers", count: 1, text: "timers are known to DMTCP's plugins only" },
  { code: "dmtcp.credentials", facet: "credentials", count: 1, text: "the image holds no credentials" },
  { code: "dmtcp.fs", facet: "fs", count: 1, text: "the image holds no working directory, root or umask" },
];

async function read(path: string, { onLoss }: ReadOptions): Promise<Checkpoint> {
  const outer = FileBytes.open(path);
  let fd: number | undefined;
  try {
    const isCompressed = outer.size >= 2n && Buffer.from(outer.read(0n, 2)).readUInt16BE() === 0x1f8b;
    if (isCompressed) fd = await gunzipToTemporary(path, mostBytesOf(outer.size));
    const file = fd === undefined ? outer : new FileBytes(path, fd, false);
    const tables = toTables(readImage(file, path), file.read(0n, imageHeaderSize), (offset, length) => file.read(offset, length), path);
    for (const loss of losses) onLoss?.(loss);
    const source = fd === undefined ? FilePageSource.open(path) : new FilePageSource(path, fd);
    return new Checkpoint({ tables, sources: [source] });
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw error;
  } finally {
    outer.close();
  }
}

export const format: FormatAdapter = {
  id: "dmtcp",
  title: "DMTCP checkpoint image",
  shape: "file",
  facets: {
    tree: "lossy",
    threads: "absent",
    registers: "absent",
    fpu: "absent",
    memory: "exact",
    "shared-memory": "absent",
    "mapped-files": "exact",
    files: "absent",
    pipes: "absent",
    sockets: "absent",
    "event-fds": "absent",
    signals: "absent",
    timers: "absent",
    credentials: "absent",
    limits: "absent",
    fs: "absent",
    scheduling: "absent",
    "command-line": "derived",
  },
  probe({ isDirectory, head }) {
    if (isDirectory) return false;
    const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
    return bytes.toString("latin1", 0, imageMagic.length) === imageMagic || isGzipOfImage(bytes);
  },
  read,
};
