// SPDX-License-Identifier: Apache-2.0
/** The memory of another process: process_vm_readv/writev, /proc/PID/mem and PAGEMAP_SCAN. */
import { failed, SysError, addressOf, tryCall } from "./sys.js";
import { errno } from "../linux/errno.js";
import { close, openFlag, tryOpen, tryPread } from "./files.js";
import { memoryAsked } from "./stand-in.js";

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
  return tryCall("process_vm_readv", memoryAsked(pid), localIov, 1, oneIov(remoteIov, address, into.length), 1, 0);
}

/** process_vm_writev of one range. Returns the bytes written (may be short), or −errno. */
export function tryWriteMemory(pid: number, address: bigint, from: Uint8Array): number {
  oneIov(localIov, addressOf(from), from.length);
  return tryCall("process_vm_writev", pid, localIov, 1, oneIov(remoteIov, address, from.length), 1, 0);
}

/**
 * Has the kernel grow a stack down to an address, as a signal would: it does for whoever looks there through /proc/PID/mem
 * (expand_stack in __access_remote_vm, mm/memory.c). False: there is no mapping above that grows, or it may not grow as far.
 */
export function growStack(pid: number, address: bigint): boolean {
  const fd = tryOpen(`/proc/${pid}/mem`, openFlag.RDONLY);
  if (failed(fd)) return false;
  try {
    return tryPread(fd, new Uint8Array(1), address) === 1;
  } finally {
    close(fd);
  }
}

/** Fills the whole buffer from memory, or throws (EFAULT when it ends early). */
export function readMemory(pid: number, address: bigint, into: Uint8Array): void {
  const got = tryReadMemory(pid, address, into);
  if (got !== into.length) throw new SysError("process_vm_readv", failed(got) ? -got : errno.EFAULT, place(pid, address));
}

/** Writes the whole buffer, or throws. */
export function writeMemory(pid: number, address: bigint, from: Uint8Array): void {
  const got = tryWriteMemory(pid, address, from);
  if (got !== from.length) throw new SysError("process_vm_writev", failed(got) ? -got : errno.EFAULT, place(pid, address));
}

function place(pid: number, address: bigint): string {
  return `process ${pid}, memory at 0x${address.toString(16)}`;
}
