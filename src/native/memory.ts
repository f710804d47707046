// SPDX-License-Identifier: Apache-2.0
/** The memory of another process: process_vm_readv/writev, /proc/PID/mem and PAGEMAP_SCAN. */
import { failed, SysError, addressOf, tryCall } from "./sys.js";
import { errno } from "../linux/errno.js";

const remoteIov = Buffer.alloc(16);
const localIov = Buffer.alloc(16);

function oneIov(iov: Buffer, address: bigint, length: number): Buffer {
  iov.writeBigUInt64LE(address, 0);
  iov.writeBigUInt64LE(BigInt(length), 8);
  return iov;
}

/** process_vm_readv of one range. Returns the bytes read (may be short), or −errno. Needs readable mappings. */
export function tryReadMemory(pid: number, address: bigint, into: Uint8Array): number {
  oneIov(localIov, addressOf(into), into.length);
  return tryCall("process_vm_readv", pid, localIov, 1, oneIov(remoteIov, address, into.length), 1, 0);
}

/** process_vm_writev of one range. Returns the bytes written (may be short), or −errno. */
export function tryWriteMemory(pid: number, address: bigint, from: Uint8Array): number {
  oneIov(localIov, addressOf(from), from.length);
  return tryCall("process_vm_writev", pid, localIov, 1, oneIov(remoteIov, address, from.length), 1, 0);
}

/** Fills the whole buffer from memory, or throws (EFAULT when it ends early). */
export function readMemory(pid: number, address: bigint, into: Uint8Array): void {
  const got = tryReadMemory(pid, address, into);
  if (got !== into.length) throw new SysError("process_vm_readv", failed(got) ? -got : errno.EFAULT, place(pid, address));
}

/** Reads `length` bytes of memory. The caller has bounded `length`. */
export function readMemoryBytes(pid: number, address: bigint, length: number): Buffer {
  const into = Buffer.alloc(length);
  readMemory(pid, address, into);
  return into;
}

/** Writes the whole buffer, or throws. */
export function writeMemory(pid: number, address: bigint, from: Uint8Array): void {
  const got = tryWriteMemory(pid, address, from);
  if (got !== from.length) throw new SysError("process_vm_writev", failed(got) ? -got : errno.EFAULT, place(pid, address));
}

function place(pid: number, address: bigint): string {
  return `process ${pid}, memory at 0x${address.toString(16)}`;
}

/** Categories of PAGEMAP_SCAN (linux/fs.h, since 6.7). */
export const pageIs = {
  WPALLOWED: 1n,
  WRITTEN: 2n,
  FILE: 4n,
  PRESENT: 8n,
  SWAPPED: 16n,
  PFNZERO: 32n,
  HUGE: 64n,
  SOFT_DIRTY: 128n,
  GUARD: 256n,
} as const;

/** Runs asked for at once. */
const runs = 2048;
const regions = Buffer.allocUnsafeSlow(runs * 24);

/** _IOWR('f', 16, struct pm_scan_arg) */
const PAGEMAP_SCAN = 0xc0606610;

export interface PageScan {
  readonly start: bigint;
  readonly end: bigint;
  readonly inverted: bigint;
  readonly mask: bigint;
  readonly anyOf: bigint;
  /** Categories that runs are told apart by; by default those of `anyOf`. */
  readonly returned?: bigint;
}

/**
 * Runs of pages of one kind, ascending, through an open /proc/PID/pagemap.
 * Returns −errno when the kernel lacks the call (ENOTTY) or the category (EINVAL).
 */
export function scanPages(pagemapFd: number, scan: PageScan, onRun: (start: bigint, end: bigint, categories: bigint) => void): number {
  const arg = Buffer.alloc(96);
  let start = scan.start;
  // Where the buffer is just full, the kernel may stop before the end of the last run, and tell it once more.
  let told = start;
  while (start < scan.end) {
    arg.writeBigUInt64LE(96n, 0);
    arg.writeBigUInt64LE(0n, 8);
    arg.writeBigUInt64LE(start, 16);
    arg.writeBigUInt64LE(scan.end, 24);
    arg.writeBigUInt64LE(0n, 32);
    arg.writeBigUInt64LE(addressOf(regions), 40);
    arg.writeBigUInt64LE(BigInt(runs), 48);
    arg.writeBigUInt64LE(0n, 56);
    arg.writeBigUInt64LE(scan.inverted, 64);
    arg.writeBigUInt64LE(scan.mask, 72);
    arg.writeBigUInt64LE(scan.anyOf, 80);
    arg.writeBigUInt64LE(scan.returned ?? scan.anyOf, 88);
    const count = tryCall("ioctl", pagemapFd, PAGEMAP_SCAN, arg);
    if (count === -errno.EINTR) continue;
    if (failed(count)) return count;
    for (let at = 0; at < count * 24; at += 24) {
      const [from, to] = [regions.readBigUInt64LE(at), regions.readBigUInt64LE(at + 8)];
      if (to > told) onRun(from > told ? from : told, to, regions.readBigUInt64LE(at + 16));
      if (to > told) told = to;
    }
    const walked = arg.readBigUInt64LE(32);
    if (walked <= start) break;
    start = walked;
  }
  return 0;
}
