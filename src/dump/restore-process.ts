// SPDX-License-Identifier: Apache-2.0
/**
 * Processes that are left of a resume: the one that the caller started, which waits for the program, and the init of a
 * pid namespace (src/lower/foreground.ts, namespaces.ts). Nothing of the program is in them, so who names one of them
 * means the program.
 *
 * Such a process is known by its memory, not by its name: where the executable behind /proc/PID/exe says that its
 * restore program is loaded, that very program is. The program itself has lost that memory when it began to run.
 */
import { ByteReader } from "../bytes/byte-reader.js";
import {
  elfHeaderSize,
  programHeaderSize as segmentSize,
  readElfHeader,
  readProgramHeader as readSegment,
  segmentTypeValues,
} from "../gen/elf64.js";
import { controlHeaderSize, type ProgramHeader, programHeaderSize, readProgramHeader } from "../gen/restore-program.js";
import { close, failed, openFlag, tryOpen, tryPread, tryReadMemory, tryReadSmall } from "../native/index.js";
import { innermost, listChildren, listThreads, procPath, readStat, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";

/** An image has a handful of program headers (SPEC.md, section 2). */
const maxSegments = 64;

/** Mappings that every process begins with. */
const fromKernel = / \[(stack|vvar|vvar_vclock|vdso|vsyscall)\]$/;

/** The header up to its last field, the checksum, which is 0 in memory while it is computed (native/interp/verify.h). */
const comparedSize = programHeaderSize - 4;

/** The restore program that is loaded in a process; undefined if it is no process of crimg's, or may not be looked at. */
export function loadedRestoreProgram(pid: number): ProgramHeader | undefined {
  const fd = tryOpen(`${procPath(pid)}/exe`, openFlag.RDONLY);
  if (failed(fd)) return undefined;
  try {
    const segment = programSegment(fd);
    if (segment === undefined || segment.filesz < BigInt(programHeaderSize)) return undefined;
    const [inFile, inMemory] = [Buffer.alloc(programHeaderSize), Buffer.alloc(programHeaderSize)];
    if (tryPread(fd, inFile, segment.offset) !== programHeaderSize) return undefined;
    if (tryReadMemory(pid, segment.vaddr, inMemory) !== programHeaderSize) return undefined;
    if (!inFile.subarray(0, comparedSize).equals(inMemory.subarray(0, comparedSize))) return undefined;
    const header = readProgramHeader(new ByteReader(inMemory, { source: `memory of process ${pid}`, path: "program_header" }));
    return isNothingElse(pid, header) ? header : undefined;
  } catch {
    // Not laid out as an image is.
    return undefined;
  } finally {
    close(fd);
  }
}

/**
 * Whether a process has no memory but the restore's, and at most what the kernel gave it (one that starts a command keeps
 * that). A program that was resumed under strace has the restore's too, where it cannot be traced out, beside its own.
 */
function isNothingElse(pid: number, { holeBase, holeSize }: ProgramHeader): boolean {
  const maps =
    tryReadSmall(`${procPath(pid)}/maps`)
      ?.toString("latin1")
      .trim()
      .split("\n") ?? [];
  return maps.every((line) => {
    const [start = 0n, end = 0n] = (line.split(" ")[0] ?? "").split("-").map((text) => BigInt(`0x${text}`));
    return fromKernel.test(line) || (start >= holeBase && end <= holeBase + holeSize);
  });
}

/** Where the restore program of an executable is. @throws CrimgError `bytes.*` if it is no ELF file */
function programSegment(fd: number): { readonly offset: bigint; readonly vaddr: bigint; readonly filesz: bigint } | undefined {
  const header = Buffer.alloc(elfHeaderSize);
  if (tryPread(fd, header, 0n) !== elfHeaderSize) return undefined;
  const { ePhoff, ePhnum, ePhentsize } = readElfHeader(new ByteReader(header, { source: "executable", path: "elf_header" }));
  if (ePhentsize !== segmentSize || ePhnum > maxSegments) return undefined;
  const table = Buffer.alloc(ePhnum * segmentSize);
  if (tryPread(fd, table, ePhoff) !== table.length) return undefined;
  const reader = new ByteReader(table, { source: "executable", path: "program_headers" });
  for (let index = 0; index < ePhnum; index++) {
    const { pType, pOffset, pVaddr, pFilesz } = readSegment(reader);
    if (pType === segmentTypeValues.ckpt_program) return { offset: pOffset, vaddr: pVaddr, filesz: pFilesz };
  }
  return undefined;
}

/**
 * The process that is meant by `pid`: the root of the program if `pid` waits for one, else `pid` itself. `waiters` are
 * the processes in between, outermost first; they end by themselves when the program does.
 * @throws CrimgError `dump.resuming`, `dump.ended`
 */
export function programOf(pid: number): { readonly pid: number; readonly waiters: readonly number[] } {
  const waiters: number[] = [];
  for (let at = pid; ; ) {
    const program = loadedRestoreProgram(at);
    if (program === undefined) return { pid: at, waiters };
    waiters.push(at);
    const root = rootIdOf(at, program);
    const children = (listThreads(at) ?? []).flatMap((tid) => listChildren(at, tid) ?? []);
    // The waiting process in between is an init; the program's root is known by the id that it has there.
    // A program that starts a command instead (crimg run) knows no ids; the command is the first child of its init.
    const command = program.numPids === 0 ? children[0] : undefined;
    const next =
      children.find((child) => loadedRestoreProgram(child) !== undefined) ??
      children.find((child) => root !== 0 && innermostPid(child) === root && readStat(procPath(child))?.state !== "Z") ??
      command;
    if (next === undefined) {
      const name = `process ${pid} waits for a program that an image brought back`;
      if (root === 0) throw refusal("resuming", `${name}, and that does not run yet`, { hint: "Try again in a moment." });
      throw refusal("ended", `${name}, and that has ended`);
    }
    at = next;
  }
}

/** The root's id in the pid namespace of the restore: the first of the ids in the control area; 0 if it is not made. */
function rootIdOf(pid: number, { addrControl, numCounters, numPids }: ProgramHeader): number {
  const id = Buffer.alloc(4);
  const at = addrControl + BigInt(controlHeaderSize + 4 * numCounters);
  return numPids > 0 && tryReadMemory(pid, at, id) === id.length ? id.readUInt32LE() : 0;
}

function innermostPid(pid: number): number | undefined {
  const status = readStatus(procPath(pid));
  return status && innermost(status, "NSpid");
}
