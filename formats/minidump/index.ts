// SPDX-License-Identifier: Apache-2.0
/** Minidumps of Linux programs: what lldb's `process save-core` writes, and Breakpad. Read only. */
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { signature } from "../../src/gen/minidump.js";
import { readMinidump } from "./read.js";

export const format: FormatAdapter = {
  id: "minidump",
  title: "minidump of a Linux program (lldb, Breakpad)",
  shape: "file",
  facets: {
    tree: "lossy",
    threads: "lossy",
    registers: "lossy",
    fpu: "lossy",
    memory: "lossy",
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
    scheduling: "absent",
    "command-line": "exact",
  },
  probe({ head, isDirectory }: ProbeInput): boolean {
    if (isDirectory || head.length < 32) return false;
    return new DataView(head.buffer, head.byteOffset, head.byteLength).getUint32(0, true) === signature;
  },
  async read(path, options) {
    return readMinidump(path, options);
  },
};
