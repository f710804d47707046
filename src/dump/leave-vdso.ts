// SPDX-License-Identifier: Apache-2.0
/**
 * Threads that stand in the code of the vDSO go on, instruction by instruction, until they are out of it: the kernel that
 * resumes them may have another (SPEC 10). It takes microseconds, as nothing there waits.
 */
import { readAuxv, auxType } from "../model/auxv.js";
import {
  close,
  decodeWaitStatus,
  failed,
  getRegs,
  openFlag,
  setSigmask,
  tryOpen,
  tryPread,
  tryReadSmall,
  tryStep,
  waitOption,
  waitTimeout,
} from "../native/index.js";
import type { FrozenProcess, FrozenThread } from "./freeze.js";
import { procPath, readStatus } from "./procfs.js";
import { getReg } from "./registers.js";

/** The vDSO has two pages; one that is larger is left as far as this. */
const vdsoBytes = 4n * 4096n;
/** The longest way through it, getrandom with a fresh key, takes some thousand. */
const mostSteps = 20_000;
const SIGTRAP = 5;
const trapBit = 1n << BigInt(SIGTRAP - 1);
const stepMs = 1000;

/** Moves the threads of a process out of the vDSO, where the program can be stepped without noticing. */
export function leaveVdso(process: FrozenProcess): void {
  const vdso = vdsoOf(process.pid);
  if (vdso === undefined) return;
  const inside = ({ regs }: FrozenThread): boolean => {
    const ip = getReg(regs, "ip");
    return ip >= vdso.start && ip < vdso.end;
  };
  const threads = process.threads.filter((thread) => thread.regs.length > 0 && inside(thread));
  if (threads.length === 0 || ignoresTraps(process.pid)) return;
  for (const thread of threads) {
    if ((thread.sigmask & trapBit) !== 0n) continue;
    // No handler is called meanwhile.
    setSigmask(thread.tid, ~trapBit & 0xffff_ffff_ffff_ffffn);
    for (let steps = 0; steps < mostSteps && inside(thread) && step(thread); steps++);
    setSigmask(thread.tid, thread.sigmask);
  }
}

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Where the kernel's vDSO is: the auxiliary vector says it, but in a program that was resumed under another kernel. */
function vdsoOf(pid: number): Range | undefined {
  const auxv = tryReadSmall(`${procPath(pid)}/auxv`);
  const start = auxv === undefined ? undefined : readAuxv(auxv).get(auxType.sysinfoEhdr);
  if (start === undefined || start === 0n) return undefined;
  return isAnonymous(pid, start) ? mappedVdso(pid) : { start, end: start + vdsoBytes };
}

/** Bit 63 of a word of /proc/PID/pagemap: the page is there; bit 61: it is one of a file, or of the kernel's. */
function isAnonymous(pid: number, address: bigint): boolean {
  const fd = tryOpen(`${procPath(pid)}/pagemap`, openFlag.RDONLY);
  if (failed(fd)) return false;
  const word = Buffer.alloc(8);
  const got = tryPread(fd, word, (address / 4096n) * 8n);
  close(fd);
  return got === 8 && word.readBigUInt64LE(0) >> 61n === 4n;
}

function mappedVdso(pid: number): Range | undefined {
  const maps = tryReadSmall(`${procPath(pid)}/maps`)?.toString("latin1") ?? "";
  const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .* \[vdso\]$/m.exec(maps) ?? [];
  return from === undefined || to === undefined ? undefined : { start: BigInt(`0x${from}`), end: BigInt(`0x${to}`) };
}

/** The kernel would take SIG_IGN away from a program at its first step (force_sig). */
function ignoresTraps(pid: number): boolean {
  const ignored = readStatus(procPath(pid))?.get("SigIgn");
  return ignored === undefined || (BigInt(`0x${ignored}`) & trapBit) !== 0n;
}

/** False if it does not stop behind the step as it should: it is left there. */
function step(thread: FrozenThread): boolean {
  if (failed(tryStep(thread.tid))) return false;
  const waited = waitTimeout(thread.tid, waitOption.WALL, stepMs);
  if (failed(waited.pid)) return false;
  const stop = decodeWaitStatus(waited.status);
  if (stop.kind !== "stopped") return false;
  getRegs(thread.tid).copy(thread.regs);
  return stop.signal === SIGTRAP;
}
