// SPDX-License-Identifier: Apache-2.0
/** CRIU image directories (3.x and 4.x), and archives of them. */
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { compressionOf, looksLikeArchive } from "./archive/archive.js";
import { isOciTar, layoutNames, reading } from "./archive/oci.js";
import { compressionByName } from "./archive/write-archive.js";
import { inventoryName } from "./wire/image-types.js";
import { lossesOf } from "./losses.js";
import { readCriu } from "./read.js";
import { engineFolder, engineMarks } from "./archive/engine-members.js";
import { writeCriu } from "./write.js";

function probe(input: ProbeInput): boolean {
  if (input.isDirectory) {
    if (input.entries.includes(inventoryName) && input.entries.includes("pstree.img")) return true;
    // Memory only: what criu pre-dump and a page server write. The reader says so.
    if (
      input.entries.some((name) => /^pagemap-(shmem-)?\d+\.img$/.test(name)) &&
      input.entries.some((name) => /^pages-\d+\.img$/.test(name))
    )
      return true;
    // An OCI image; whether it is one of a checkpoint, its index says.
    if (layoutNames.every((name) => input.entries.includes(name))) return true;
    // A container engine's unpacked checkpoint keeps the set one level down.
    return input.entries.includes(engineFolder) && engineMarks.some((name) => input.entries.includes(name));
  }
  if (compressionOf(input.head) === undefined) return false;
  const file = { path: input.path, offset: 0, length: Number.POSITIVE_INFINITY };
  return reading(file, (read) => looksLikeArchive(input.head, read)) || (compressionOf(input.head) === "none" && isOciTar(input.path));
}

export const format: FormatAdapter = {
  id: "criu",
  title: "CRIU image directory",
  shape: "directory",
  shapeOfName: (name) => (compressionByName(name) === undefined ? "directory" : "file"),
  facets: {
    tree: "exact",
    threads: "exact",
    registers: "exact",
    fpu: "lossy",
    memory: "exact",
    "shared-memory": "exact",
    "mapped-files": "exact",
    files: "lossy",
    pipes: "lossy",
    sockets: "lossy",
    "event-fds": "lossy",
    signals: "exact",
    timers: "exact",
    credentials: "lossy",
    limits: "exact",
    fs: "exact",
    scheduling: "lossy",
    "command-line": "derived",
  },
  probe,
  read: readCriu,
  losses: lossesOf,
  write: writeCriu,
};
