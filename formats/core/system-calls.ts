// SPDX-License-Identifier: Apache-2.0
/**
 * Which threads are inside a system call. orig_rax alone does not tell: some writers leave 0 or rax there. A thread is in one
 * only if the instruction before its instruction pointer is one, as far as the program's text can be seen.
 */
import type { MutableTables, ThreadRow } from "../../src/gen/tables.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { MemoryView } from "../../src/pages/memory-view.js";

/** syscall, sysenter, int 0x80. */
const instructions: readonly string[] = ["0f05", "0f34", "cd80"];
const none = (1n << 64n) - 1n;

/** The tables with `inSyscall` and `origAx` of threads that are in none put right. */
export function withSystemCalls(tables: MutableTables, view: MemoryView): MutableTables {
  const threads = tables.threads.map((row): ThreadRow => {
    if (row.inSyscall === 0 || followsCall(view, row.regs.ip) !== false) return row;
    return { ...row, inSyscall: 0, regs: { ...row.regs, origAx: none } };
  });
  return { ...tables, threads };
}

/** Whether there is a system call before an address; undefined if it cannot be seen. */
function followsCall(view: MemoryView, ip: bigint): boolean | undefined {
  // The kernel may also have put the thread back onto the instruction, to restart the call.
  const seen = [ip - 2n, ip].map((address) => bytesAt(view, address));
  if (seen.some((bytes) => bytes !== undefined && instructions.includes(bytes))) return true;
  return seen[0] === undefined ? undefined : false;
}

function bytesAt(view: MemoryView, address: bigint): string | undefined {
  try {
    return Buffer.from(view.read(address, 2)).toString("hex");
  } catch (error) {
    if (error instanceof CrimgError) return undefined;
    throw error;
  }
}
