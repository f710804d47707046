// SPDX-License-Identifier: Apache-2.0
/** ELF cores: what the kernel writes when a process crashes, gdb's gcore, and crimg for debuggers. */
import { statSync } from "node:fs";
import type { FormatAdapter, ProbeInput, WriteOptions } from "../../src/adapter/format.js";
import { elfTypeValues } from "../../src/gen/elf64.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { writeLosses } from "./losses.js";
import { readCore } from "./read.js";
import { readCoreDirectory } from "./read-directory.js";
import { chosenTasks } from "./tasks.js";
import { writeCores } from "./write.js";

/** What a tree is written as: see write.ts. */
const corePattern = /^core\.[0-9]+$/;

function isCore(head: Uint8Array): boolean {
  if (head.length < 64) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return view.getUint32(0) === 0x7f454c46 && head[4] === 2 && view.getUint16(16, true) === elfTypeValues.core;
}

/** One process is a file, a tree a directory. */
function shapeOf(checkpoint: Checkpoint, options: WriteOptions): "file" | "directory" {
  const tasks = chosenTasks(checkpoint, options.pid).filter((task) => checkpoint.tables.tasks[task]?.mm !== null);
  return tasks.length > 1 ? "directory" : "file";
}

export const format: FormatAdapter = {
  id: "core",
  title: "ELF core dump",
  shape: "file",
  knowsZeroPages: true,
  keepsAbsentMemory: true,
  facets: {
    tree: "lossy",
    threads: "lossy",
    registers: "exact",
    fpu: "exact",
    memory: "exact",
    "shared-memory": "lossy",
    "mapped-files": "lossy",
    files: "absent",
    pipes: "absent",
    sockets: "absent",
    "event-fds": "absent",
    signals: "lossy",
    timers: "absent",
    credentials: "lossy",
    limits: "absent",
    fs: "absent",
    scheduling: "lossy",
    "command-line": "exact",
  },
  probe(input: ProbeInput): boolean {
    return input.isDirectory ? input.entries.every((name) => corePattern.test(name)) : isCore(input.head);
  },
  async read(path, options) {
    return statSync(path).isDirectory() ? readCoreDirectory(path, options) : readCore(path, options);
  },
  shapeOf,
  losses(checkpoint, options) {
    return writeLosses(checkpoint, chosenTasks(checkpoint, options.pid));
  },
  async write(checkpoint, output, options) {
    await writeCores(checkpoint, output, options, shapeOf(checkpoint, options) === "directory");
  },
};
