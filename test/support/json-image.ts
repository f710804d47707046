// SPDX-License-Identifier: Apache-2.0
/** Small JSON documents that stand for large images. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";

export interface JsonImage {
  /** Bytes of anonymous memory, all of them stored. */
  readonly memoryBytes: bigint;
  /** Bytes at the start of the page file that are data; the rest is a hole. */
  readonly dataBytes: number;
}

/** Writes `path` and `path`.pages: one process with one large mapping. */
export function writeJsonImage(path: string, { memoryBytes, dataBytes }: JsonImage): void {
  const hex = (value: bigint) => `0x${value.toString(16)}`;
  const start = 0x10000000n;
  const document = {
    format: "crimg-json",
    version: [2, 0],
    pages: { file: `${path.split("/").at(-1) ?? ""}.pages` },
    tables: {
      checkpoint: [{ root_task: 0, page_size: 4096, machine: "x86_64", source_format: "live", xfeatures: "0x7" }],
      tasks: [{ pid: 4711, ppid: 1, pgid: 4711, sid: 4711, state: "running", exit_signal: 17, mm: 0 }],
      threads: [
        {
          task: 0,
          tid: 4711,
          regs: { ip: hex(start), sp: hex(start + 4096n), cs: "0x33", ss: "0x2b", flags: "0x202", orig_ax: "0xffffffffffffffff" },
          comm: "large",
        },
      ],
      mms: [
        {
          dumpable: 1,
          start_code: hex(start),
          end_code: hex(start + 4096n),
          start_data: hex(start),
          end_data: hex(start + 4096n),
          start_brk: hex(start),
          brk: hex(start),
          start_stack: hex(start + 4096n),
        },
      ],
      vmas: [{ mm: 0, kind: "anon_private", start: hex(start), end: hex(start + memoryBytes), prot: ["read", "write", "exec"] }],
      extents: [{ owner_kind: "mm", owner: 0, address: hex(start), length: hex(memoryBytes), file_offset: "0x0" }],
    },
  };
  writeFileSync(path, JSON.stringify(document));
  const fd = openSync(`${path}.pages`, "w");
  try {
    const block = Buffer.alloc(1 << 20);
    for (let at = 0; at < block.length; at += 8) block.writeDoubleLE(Math.random(), at);
    for (let done = 0; done < dataBytes; done += block.length) writeSync(fd, block, 0, Math.min(block.length, dataBytes - done), done);
    ftruncateSync(fd, Number(memoryBytes));
  } finally {
    closeSync(fd);
  }
}
