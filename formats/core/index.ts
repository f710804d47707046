/** ELF cores: what the kernel writes when a process crashes, gdb's gcore, and crimg for debuggers. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { elfTypeValues } from "../../src/gen/elf64.js";
import { readCore } from "./read.js";

function isCore(head: Uint8Array): boolean {
  if (head.length < 64) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return view.getUint32(0) === 0x7f454c46 && head[4] === 2 && view.getUint16(16, true) === elfTypeValues.core;
}

export const format: FormatAdapter = {
  id: "core",
  title: "ELF core dump",
  shape: "file",
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
    return !input.isDirectory && isCore(input.head);
  },
  async read(path, options) {
    return readCore(path, options);
  },
};
