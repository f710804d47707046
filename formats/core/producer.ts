// SPDX-License-Identifier: Apache-2.0
/** Cores that no kernel wrote: how to tell them, and what of them is not what it seems. */
import { segmentTypeValues } from "../../src/gen/elf64.js";
import { auxType } from "../../src/model/auxv.js";
import type { ReadMemory } from "../../src/model/initial-stack.js";
import { readProgramHeaders } from "./elf-facts.js";
import type { CoreThread } from "./process-notes.js";

/** PT_TLS, and PT_INTERP: a libc has thread-local data of its own. */
const needThreadPointer: readonly number[] = [7, segmentTypeValues.interp];

/**
 * valgrind 3.19 writes neither NT_AUXV nor NT_FILE; qemu-user 7.2 an NT_AUXV without AT_SYSINFO_EHDR, and orig_rax equal to
 * rax. Both know no fs base. A process of a kernel has one, or (static, without TLS) a vDSO.
 */
export function emulatorOf(
  threads: readonly CoreThread[],
  aux: ReadonlyMap<bigint, bigint>,
  numFiles: number,
): "valgrind" | "qemu-user" | undefined {
  if (threads.some(({ prstatus }) => prstatus.regs.fsBase !== 0n) || numFiles > 0) return undefined;
  if (aux.size === 0) return "valgrind";
  return !aux.has(auxType.sysinfoEhdr) && threads.every(({ prstatus: { regs } }) => regs.origAx === regs.ax) ? "qemu-user" : undefined;
}

/** Why the process cannot be resumed whatever the host, or undefined. */
export function whyNotResumable(
  threads: readonly CoreThread[],
  emulator: string | undefined,
  aux: ReadonlyMap<bigint, bigint>,
  read: ReadMemory,
): string | undefined {
  if (emulator !== undefined)
    return `${emulator} made the core: it holds the registers of an emulated processor, without thread pointers and extended state`;
  if (threads.some(({ prstatus }) => prstatus.regs.fsBase !== 0n)) return undefined;
  const headers = aux.get(auxType.phdr);
  const segments = headers === undefined ? undefined : readProgramHeaders(read, headers, Number(aux.get(auxType.phnum) ?? 0n));
  const hasTls = segments?.some(({ pType }) => needThreadPointer.includes(pType));
  return hasTls || threads.length > 1
    ? "the core holds no thread pointer (fs base) of any thread, though the program has thread-local storage"
    : undefined;
}
