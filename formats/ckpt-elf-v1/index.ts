// SPDX-License-Identifier: Apache-2.0
/** The checkpoint ELF extension of 2011: ET_CKPT, one process a file. */
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { formatId } from "./headers.js";
import { lossesOfCkptElfV1 } from "./losses.js";
import { readCkptElfV1 } from "./read.js";
import { writeCkptElfV1 } from "./write.js";

export { replayLkmlLoader } from "./lkml.js";

/** A 64-bit ELF file whose e_type is ET_CKPT. */
function probe({ head }: ProbeInput): boolean {
  return head.length >= 18 && Buffer.from(head.subarray(0, 5)).toString("latin1") === "\x7fELF\x02" && head[16] === 5 && head[17] === 0;
}

export const format: FormatAdapter = {
  id: formatId,
  title: "checkpoint ELF, version 1 (ET_CKPT, 2011)",
  shape: "file",
  isExecutable: true,
  facets: {
    tree: "absent",
    threads: "lossy",
    registers: "exact",
    fpu: "lossy",
    memory: "lossy",
    "shared-memory": "lossy",
    "mapped-files": "lossy",
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
  probe,
  read: async (path, options) => readCkptElfV1(path, options),
  losses: lossesOfCkptElfV1,
  write: async (checkpoint, output, options) => writeCkptElfV1(checkpoint, output, options),
};
