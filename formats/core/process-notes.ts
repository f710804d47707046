// SPDX-License-Identifier: Apache-2.0
/** What the notes of a core say about the process. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { decodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  mappedFileSize,
  mappedFilesHeaderSize,
  ntAuxv,
  ntCrimgAbsent,
  ntDelveHeader,
  ntFile,
  ntFpregset,
  ntMinicoredumperDumplist,
  ntPrpsinfo,
  ntPrstatus,
  ntSiginfo,
  ntX86XsaveLayout,
  ntX86Xstate,
  prpsinfoSize,
  prstatusSize,
  readMappedFile,
  readMappedFilesHeader,
  readPrpsinfo,
  readPrstatus,
  readXsaveComponent,
  type DumpedRange,
  type Prpsinfo,
  type Prstatus,
  type XsaveComponent,
  xsaveComponentSize,
} from "../../src/gen/core-notes.js";
import type { Note } from "../../src/elf/notes.js";
import { readAuxv } from "../../src/model/auxv.js";
import { emulatorOf } from "./producer.js";
import { crimgOwner, readAbsentNote } from "./absent-note.js";
import { readDumpList, recordsOf } from "./note-records.js";
import type { Missing } from "./absent.js";
import type { CoreFile } from "./core-file.js";

/** A thread, in the order of the file. */
export interface CoreThread {
  readonly prstatus: Prstatus;
  /** The note's bytes: what the model does not hold is kept of them. */
  readonly prstatusBytes: Uint8Array;
  fpregset?: Uint8Array;
  xstate?: Uint8Array;
  siginfo?: Uint8Array;
}

/** An entry of NT_FILE. */
export interface CoreMapping {
  readonly start: bigint;
  readonly end: bigint;
  /** Bytes. */
  readonly offset: bigint;
  /** As the kernel shows it, " (deleted)" included. */
  readonly path: string;
}

export interface CoreProcess {
  /** First in the file: the one that crashed, or the leader. */
  readonly threads: readonly CoreThread[];
  readonly prpsinfo?: Prpsinfo;
  readonly prpsinfoBytes?: Uint8Array;
  readonly auxv: Uint8Array;
  /** Ascending, disjoint. */
  readonly mappings: readonly CoreMapping[];
  /** What the writer of the core did not know (crimg's note); undefined where it does not say. */
  readonly absent?: readonly Missing[];
  /** minicoredumper: the only bytes of the segments that are really there. */
  readonly dumped?: readonly DumpedRange[];
  /** NT_X86_XSAVE_LAYOUT. */
  readonly xsaveLayout: readonly XsaveComponent[];
  /** Made by gdb's gcore: signal masks and pending signals are always 0 there, PROT_NONE reads as PROT_READ. */
  readonly isGcore: boolean;
  /** Made by delve's `dump`: no mapping without access, no FXSAVE area. */
  readonly isDelve: boolean;
  /** The program that emulated the processor, if one did: see producer.ts. */
  readonly emulator?: string;
}

/** Gathers the notes. Throws CrimgError `core.*`. */
export function readProcessNotes({ notes }: CoreFile, source: string): CoreProcess {
  const threads: CoreThread[] = [];
  const isDelve = notes.some(({ name, type }) => name === "Delve Header" && type === ntDelveHeader);
  let prpsinfo: Note | undefined;
  let auxv: Uint8Array = new Uint8Array(0);
  let mappings: readonly CoreMapping[] = [];
  let absent: readonly Missing[] | undefined;
  let dumped: readonly DumpedRange[] | undefined;
  let xsaveLayout: readonly XsaveComponent[] = [];
  for (const given of notes) {
    const note = withOwner(given, isDelve);
    if (note.name === "CORE" && note.type === ntPrstatus) {
      const prstatus = readPrstatus(readerOf(note, prstatusSize, "NT_PRSTATUS", source));
      threads.push({ prstatus, prstatusBytes: note.desc.slice(0, prstatusSize) });
    } else if (note.name === "CORE" && note.type === ntPrpsinfo) prpsinfo = note;
    else if (note.name === "CORE" && note.type === ntAuxv) auxv = note.desc;
    else if (note.name === "CORE" && note.type === ntFile) mappings = readMappings(note, source);
    else if (note.name === crimgOwner && note.type === ntCrimgAbsent) absent = readAbsentNote(note, source);
    else if (note.name === "minicoredumper" && note.type === ntMinicoredumperDumplist) dumped = readDumpList(note, source);
    else if (note.name === "LINUX" && note.type === ntX86XsaveLayout)
      xsaveLayout = recordsOf(note, xsaveComponentSize, readXsaveComponent, source);
    else {
      const thread = threads.at(-1);
      if (!thread) continue;
      if (note.name === "CORE" && note.type === ntFpregset) thread.fpregset = note.desc;
      else if (note.name === "CORE" && note.type === ntSiginfo) thread.siginfo = note.desc;
      else if (note.name === "LINUX" && note.type === ntX86Xstate) thread.xstate = note.desc;
    }
  }
  if (notes.some(({ name }) => name === "VMCOREINFO" || name === "QEMU")) {
    throw new CrimgError("core.kernel", "it is the memory of a kernel (a vmcore), not of a process", {
      source,
      format: "core",
      hint: "crash(8) reads it",
    });
  }
  if (threads.length === 0) {
    throw new CrimgError("core.no-threads", "the core has no NT_PRSTATUS note, so no registers", { source, format: "core" });
  }
  const seen = new Set<number>();
  for (const { prstatus } of threads) {
    if (seen.has(prstatus.pid))
      throw new CrimgError("core.thread-twice", `thread ${prstatus.pid} occurs twice in the notes`, { source, format: "core" });
    seen.add(prstatus.pid);
  }
  const emulator = emulatorOf(threads, readAuxv(auxv), mappings.length);
  return {
    threads,
    ...(emulator !== undefined && { emulator }),
    prpsinfo: prpsinfo && readPrpsinfo(readerOf(prpsinfo, prpsinfoSize, "NT_PRPSINFO", source)),
    prpsinfoBytes: prpsinfo?.desc.slice(0, prpsinfoSize),
    auxv,
    mappings,
    ...(absent && { absent }),
    ...(dumped && { dumped }),
    xsaveLayout,
    isDelve,
    isGcore: notes.some(({ name }) => name === "GDB"),
  };
}

/** Delve leaves the owners of all notes but its own empty. */
function withOwner(note: Note, isDelve: boolean): Note {
  if (!isDelve || note.name !== "") return note;
  return { ...note, name: note.type === ntX86Xstate ? "LINUX" : "CORE" };
}

function readerOf(note: Note, size: number, path: string, source: string): ByteReader {
  const reader = new ByteReader(note.desc, { source, base: note.descOffset, path, format: "core" });
  reader.need(size, path);
  return reader;
}

function readMappings(note: Note, source: string): readonly CoreMapping[] {
  const reader = readerOf(note, mappedFilesHeaderSize, "NT_FILE", source);
  const { numEntries, pageSize } = readMappedFilesHeader(reader);
  const count = reader.count(numEntries, mappedFileSize + 1, "num_entries");
  if (pageSize === 0n || pageSize > 1n << 30n) throw reader.invalid("page_size", 8, pageSize, "the page size");
  const entries = Array.from({ length: count }, (_, index) => {
    reader.enter("NT_FILE.entries", index);
    const entry = readMappedFile(reader);
    return { start: entry.start, end: entry.end, offset: entry.pageOffset * pageSize };
  });
  const mappings = entries.map((entry, index): CoreMapping => {
    reader.enter("NT_FILE.names", index);
    const rest = note.desc.subarray(reader.pos);
    const end = rest.indexOf(0);
    if (end < 0) throw reader.error("core.note", "the name of a mapped file is cut off", reader.pos);
    reader.skip(end + 1);
    return { ...entry, path: decodeText(rest.subarray(0, end)) };
  });
  mappings.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  let last = 0n;
  for (const { start, end, offset } of mappings) {
    if (start < last || end <= start || start % 4096n !== 0n || end % 4096n !== 0n || offset >= 1n << 63n) {
      throw new CrimgError(
        "core.note",
        `the file mapping at 0x${start.toString(16)} is not a mapping: pages in ascending order are expected`,
        {
          source,
          format: "core",
          offset: note.descOffset,
          path: "NT_FILE",
        },
      );
    }
    last = end;
  }
  return mappings;
}
