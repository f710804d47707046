// SPDX-License-Identifier: Apache-2.0
/** The image set of crtools (2011): a directory with a set of files per process. */
import { join } from "node:path";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { type ImageKind, formatId, imageMagics, imageName, pidsWith } from "./image-files.js";
import { lossesOfCrtools } from "./losses.js";
import { readCrtools } from "./read.js";
import { writeCrtools } from "./write.js";

/** CRIU names its files alike (core-PID.img), so the magic of one file decides. */
function probe({ path, isDirectory, entries }: ProbeInput): boolean {
  if (!isDirectory) return false;
  const kinds: readonly ImageKind[] = ["pstree", "core"];
  const found = kinds.flatMap((kind) =>
    pidsWith(entries, kind)
      .slice(0, 1)
      .map((pid) => ({ kind, pid })),
  )[0];
  return found !== undefined && firstWord(join(path, imageName(found.kind, found.pid))) === imageMagics[found.kind];
}

/** First four bytes of a file as a number, or undefined. */
function firstWord(path: string): number | undefined {
  let fd: number | undefined;
  try {
    // O_NONBLOCK: should the name be a FIFO, the open must not hang.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const head = Buffer.alloc(4);
    return fstatSync(fd).isFile() && readSync(fd, head, 0, 4, 0) === 4 ? head.readUInt32LE(0) : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export const format: FormatAdapter = {
  id: formatId,
  title: "crtools image set (2011)",
  shape: "directory",
  facets: {
    tree: "lossy",
    threads: "lossy",
    registers: "exact",
    fpu: "lossy",
    memory: "lossy",
    "shared-memory": "exact",
    "mapped-files": "exact",
    files: "lossy",
    pipes: "exact",
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
  probe,
  read: async (path, options) => readCrtools(path, options),
  losses: lossesOfCrtools,
  write: async (checkpoint, output, options) => writeCrtools(checkpoint, output, options),
};
