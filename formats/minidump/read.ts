// SPDX-License-Identifier: Apache-2.0
/**
 * Minidump → model. A minidump is another container for what a core says; formats/core derives the rest. Thread pointers
 * (fs base) are not in it, so no executable can be made of one.
 */
import type { ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { decodeText, encodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { programHeader, type ProgramHeader, segmentTypeValues } from "../../src/gen/elf64.js";
import { prpsinfo } from "../../src/gen/core-notes.js";
import {
  architectureAmd64,
  platformLinux,
  readMiscInfo,
  readSystemInfo,
  streamLinuxAuxv,
  streamLinuxMaps,
  streamLinuxProcStat,
  streamLinuxProcStatus,
  streamMiscInfo,
  streamSystemInfo,
} from "../../src/gen/minidump.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import type { CoreProcess } from "../core/process-notes.js";
import { modelOf } from "../core/read.js";
import { readMaps } from "./maps.js";
import { MinidumpPages, memoryRanges, wholePages } from "./memory.js";
import { Streams } from "./streams.js";
import { readThreads } from "./threads.js";

const reason = "the minidump leaves it out";
const userEnd = 1n << 63n;

/** Reads one minidump. Throws CrimgError `minidump.*`, `bytes.*`, `core.*`. */
export function readMinidump(path: string, options: ReadOptions): Checkpoint {
  const file = FileBytes.open(path);
  let isKept = false;
  try {
    const streams = new Streams(file);
    assertLinux(streams, path);
    const stat = statOf(decodeText(streams.bytes(streamLinuxProcStat, "proc_stat")));
    const threads = readThreads(streams, file, stat);
    if (threads.length === 0) {
      throw new CrimgError("minidump.no-threads", "the minidump holds no threads", { source: path, format: "minidump" });
    }
    const ranges = memoryRanges(streams, file);
    const stored = wholePages(ranges);
    const pages = new MinidumpPages(file, ranges);
    const maps = readMaps(streams.bytes(streamLinuxMaps, "maps"));
    const loads = maps.loads.length > 0 ? maps.loads : asLoads(stored);
    const pid = pidOf(streams) ?? stat.pid ?? threads[0]?.prstatus.pid ?? 0;
    const process: CoreProcess = {
      threads,
      prpsinfo: {
        ...prpsinfo(),
        pid,
        ppid: stat.ppid,
        pgrp: stat.pgrp,
        sid: stat.sid,
        fname: nameBytes(stat.comm),
        psargs: new Uint8Array(80),
        ...idsOf(streams),
      },
      auxv: streams.bytes(streamLinuxAuxv, "auxv"),
      mappings: maps.files,
      xsaveLayout: [],
      isGcore: false,
      isDelve: false,
    };
    const { tables, losses } = modelOf({
      process,
      loads,
      stored: inside(stored, loads),
      data: inside(stored, loads),
      missing: [{ start: 0n, end: userEnd, reason }],
      bytesCut: 0n,
      readAt: (offset, length) => {
        const bytes = new Uint8Array(length);
        pages.read(offset, bytes);
        return bytes;
      },
      pages,
      format: "minidump",
      known: { ...(maps.stack !== undefined && { stack: maps.stack }), ...(maps.heap !== undefined && { heap: maps.heap }) },
    });
    for (const loss of losses) options.onLoss?.(loss);
    options.onLoss?.({
      code: "minidump.registers",
      facet: "registers",
      count: threads.length,
      text: "a minidump holds no thread pointers, flags and extended registers: it cannot be made executable",
    });
    const odd = ranges.filter(({ start, length }) => start % 4096n !== 0n || (start + length) % 4096n !== 0n).length;
    if (odd > 0) {
      options.onLoss?.({
        code: "minidump.partial-pages",
        facet: "memory",
        count: odd,
        text: "ranges do not fill their pages: the rest of a page reads as zeros",
      });
    }
    isKept = true;
    return new Checkpoint({ tables, sources: [pages] });
  } finally {
    if (!isKept) file.close();
  }
}

const systems: Readonly<Record<number, string>> = {
  0: "Windows",
  1: "Windows",
  2: "Windows",
  3: "Windows CE",
  0x8000: "Unix",
  0x8101: "macOS",
  0x8102: "iOS",
  0x8202: "Solaris",
  0x8203: "Android",
  0x8204: "PlayStation 3",
  0x8205: "Native Client",
  0x8206: "Fuchsia",
};
const processors: Readonly<Record<number, string>> = { 0: "32-bit x86", 5: "ARM", 9: "x86-64", 12: "AArch64", 0x8003: "AArch64" };

function assertLinux(streams: Streams, source: string): void {
  const reader = streams.one(streamSystemInfo, "system_info");
  if (!reader) throw new CrimgError("minidump.system", "the minidump does not say of which system it is", { source, format: "minidump" });
  const { platformId, processorArchitecture } = readSystemInfo(reader);
  if (platformId === platformLinux && processorArchitecture === architectureAmd64) return;
  const system = platformId === platformLinux ? "Linux" : (systems[platformId] ?? `system 0x${platformId.toString(16)}`);
  const processor = processors[processorArchitecture] ?? `processor ${processorArchitecture}`;
  throw new CrimgError(
    "minidump.system",
    `it is a minidump of a program for ${system} (${processor}); crimg reads those of Linux programs for x86-64`,
    {
      source,
      format: "minidump",
      path: "system_info",
    },
  );
}

function pidOf(streams: Streams): number | undefined {
  const reader = streams.one(streamMiscInfo, "misc_info");
  if (!reader || reader.remaining < 12) return undefined;
  const { flags1, processId } = readMiscInfo(reader);
  return (flags1 & 1) !== 0 && processId > 0 && processId < 1 << 22 ? processId : undefined;
}

interface Stat {
  readonly pid?: number;
  readonly comm: string;
  readonly ppid: number;
  readonly pgrp: number;
  readonly sid: number;
}

/** proc(5), /proc/PID/stat. */
function statOf(text: string): Stat {
  const [, pid, comm, ppid, pgrp, sid] = /^([0-9]{1,7}) \((.*)\) [A-Za-z] ([0-9]{1,7}) ([0-9]{1,7}) ([0-9]{1,7}) /s.exec(text) ?? [];
  if (pid === undefined) return { comm: "", ppid: 0, pgrp: 0, sid: 0 };
  return { pid: Number(pid), comm: comm ?? "", ppid: Number(ppid), pgrp: Number(pgrp), sid: Number(sid) };
}

/** Real user and group of /proc/PID/status. */
function idsOf(streams: Streams): { readonly uid: number; readonly gid: number } {
  const text = decodeText(streams.bytes(streamLinuxProcStatus, "proc_status"));
  const id = (key: string) => Number(new RegExp(`^${key}:\\t([0-9]{1,10})\\t`, "m").exec(text)?.[1] ?? 0) >>> 0;
  return { uid: id("Uid"), gid: id("Gid") };
}

function nameBytes(comm: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(encodeText(comm).subarray(0, 15));
  return bytes;
}

/** Breakpad on a system without /proc: what is stored is all that is known of the address space. */
function asLoads(stored: readonly { readonly address: bigint; readonly length: bigint }[]): ProgramHeader[] {
  return stored
    .filter(({ address }) => address < userEnd)
    .map(({ address, length }) =>
      programHeader({ pType: segmentTypeValues.load, pFlags: 6, pVaddr: address, pMemsz: length, pAlign: 4096n }),
    );
}

/** Parts of stored ranges that lie in mappings. */
function inside(
  stored: readonly { readonly address: bigint; readonly length: bigint; readonly offset: bigint }[],
  loads: readonly ProgramHeader[],
) {
  const kept: { address: bigint; length: bigint; offset: bigint }[] = [];
  let next = 0;
  for (const { address, length, offset } of stored) {
    const end = address + length;
    while (next < loads.length && (loads[next]?.pVaddr ?? 0n) + (loads[next]?.pMemsz ?? 0n) <= address) next++;
    for (let index = next; index < loads.length; index++) {
      const { pVaddr, pMemsz } = loads[index] as ProgramHeader;
      if (pVaddr >= end) break;
      const from = pVaddr > address ? pVaddr : address;
      const to = pVaddr + pMemsz < end ? pVaddr + pMemsz : end;
      if (to > from) kept.push({ address: from, length: to - from, offset: offset + (from - address) });
    }
  }
  return kept;
}
