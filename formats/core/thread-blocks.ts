// SPDX-License-Identifier: Apache-2.0
/**
 * What the kernel clears and wakes when a thread ends (set_tid_address, robust lists) is in no core, and without it
 * pthread_join waits for ever. The C library's thread control block, which fs base points to, tells it:
 *
 * - glibc (x86-64, 2.34 to 2.41 looked at; nptl/descr.h): the block holds its own address at 0 and 16, the thread id at 720,
 *   which is the address given to the kernel, and the head of the robust list at 736, whose second word is -32;
 * - musl (1.1.22 to 1.2.5; src/internal/pthread_impl.h): its own address at 0, the thread id at 48. The kernel clears
 *   `__thread_list_lock`, one for all threads, whose address is in the code that calls set_tid_address.
 *
 * Where the bytes do not fit, nothing is assumed.
 */
import type { MutableTables, ThreadRow, VmaRow } from "../../src/gen/tables.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { MemoryView } from "../../src/pages/memory-view.js";

const glibcTid = 720n;
const glibcRobustHead = 736n;
const robustListBytes = 24n;
const robustFutexOffset = (1n << 64n) - 32n;
const muslTid = 48n;

/** Largest text that is searched. */
const maxTextBytes = 16 << 20;
/** mov $218, %eax and lea rel32(%rip), %rdi, in either order, then syscall. */
const moveFirst = Buffer.from("b8da000000488d3d", "hex");
const leaFirst = Buffer.from("488d3d", "hex");
const moveThenCall = Buffer.from("b8da0000000f05", "hex");

/** The tables with `clearChildTid` and the robust list of threads whose control block is known. */
export function withThreadBlocks(tables: MutableTables, view: MemoryView): MutableTables {
  let lock: bigint | undefined;
  let isSearched = false;
  const threads = tables.threads.map((row): ThreadRow => {
    const base = row.regs.fsBase;
    const u8 = (distance: bigint) => numberAt(view, base + distance, 8);
    if (base === 0n || row.clearChildTid !== 0n || u8(0n) !== base) return row;
    if (u8(16n) === base && numberAt(view, base + glibcTid, 4) === BigInt(row.tid)) {
      const hasList = u8(glibcRobustHead + 8n) === robustFutexOffset;
      return {
        ...row,
        clearChildTid: base + glibcTid,
        ...(hasList && { robustListHead: base + glibcRobustHead, robustListLen: robustListBytes }),
      };
    }
    if (numberAt(view, base + muslTid, 4) !== BigInt(row.tid)) return row;
    if (!isSearched) lock = muslLock(tables, view);
    isSearched = true;
    return lock === undefined ? row : { ...row, clearChildTid: lock };
  });
  return { ...tables, threads };
}

function numberAt(view: MemoryView, address: bigint, length: 4 | 8): bigint | undefined {
  const bytes = bytesAt(view, address, length);
  if (!bytes) return undefined;
  return length === 4 ? BigInt(bytes.readUInt32LE(0)) : bytes.readBigUInt64LE(0);
}

function bytesAt(view: MemoryView, address: bigint, length: number): Buffer | undefined {
  try {
    return Buffer.from(view.read(address, length));
  } catch (error) {
    if (error instanceof CrimgError) return undefined;
    throw error;
  }
}

/** The address that musl gives to set_tid_address, from the text of libc or of a static program. */
function muslLock(tables: MutableTables, view: MemoryView): bigint | undefined {
  const pathOf = ({ object }: VmaRow) => (object === null ? "" : (tables.objects[object]?.path ?? ""));
  const texts = tables.vmas.filter(
    ({ kind, prot, start, end }) => kind === "file_private" && (prot & 4) !== 0 && end - start <= BigInt(maxTextBytes),
  );
  const isLibc = (vma: VmaRow) => /\/(ld-musl-|libc\.)/.test(pathOf(vma));
  for (const vma of [...texts.filter(isLibc), ...texts.filter((one) => !isLibc(one))]) {
    const text = bytesAt(view, vma.start, Number(vma.end - vma.start));
    const target = text && targetIn(text, vma.start);
    if (target !== undefined && tables.vmas.some(({ start, end, prot }) => start <= target && target < end && (prot & 2) !== 0))
      return target;
  }
  return undefined;
}

function targetIn(text: Buffer, start: bigint): bigint | undefined {
  for (let at = text.indexOf(moveFirst); at >= 0; at = text.indexOf(moveFirst, at + 1)) {
    const end = at + moveFirst.length + 4;
    if (text[end] === 0x0f && text[end + 1] === 0x05) return start + BigInt(end + text.readInt32LE(end - 4));
  }
  for (let at = text.indexOf(moveThenCall, 7); at >= 0; at = text.indexOf(moveThenCall, at + 1)) {
    if (text.subarray(at - 7, at - 4).equals(leaFirst)) return start + BigInt(at + text.readInt32LE(at - 4));
  }
  return undefined;
}
