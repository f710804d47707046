// SPDX-License-Identifier: Apache-2.0
/** Write-protected memory of other processes: userfaultfd(2), ioctl_userfaultfd(2), and which pages of it were written to. */
import { addon } from "./addon.js";
import type { CallBatch } from "./batch.js";
import { tryIoctl } from "./descriptors.js";

/** Flags of userfaultfd(2): O_CLOEXEC, and UFFD_USER_MODE_ONLY: that one anybody may have. */
export const userfaultfdFlags = { privileged: 0o2000000, userModeOnly: 0o2000000 | 1 };

const UFFD_API = 0xaan;
/** UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC: the kernel itself lets a write pass, and notes it. */
const features = 1n | (1n << 15n);
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFDIO_UNREGISTER = 0x8010aa01;
const UFFDIO_WRITEPROTECT = 0xc018aa06;
const [REGISTER_MODE_MISSING, REGISTER_MODE_WP] = [1n, 2n];

/** Agrees on what a userfaultfd is for. Returns 0 or −errno: EINVAL where the kernel does not have it (before 6.7). */
export function tryTrackWrites(fd: number): number {
  return tryIoctl(fd, UFFDIO_API, new BigUint64Array([UFFD_API, features, 0n]));
}

/** Has writes to memory noted, once it is protected. Returns 0 or −errno. */
export function tryRegister(fd: number, start: bigint, length: bigint): number {
  return tryIoctl(fd, UFFDIO_REGISTER, new BigUint64Array([start, length, REGISTER_MODE_WP, 0n]));
}

/** Has a batch take away the protection of part of what `tryRegister` began. Page faults go on meanwhile. */
export function addUnprotect(batch: CallBatch, fd: number, start: bigint, length: bigint): void {
  batch.add(0, "ioctl", fd, UFFDIO_WRITEPROTECT, batch.address(new BigUint64Array([start, length, 0n])));
}

/** Has a batch end what `tryRegister` began, and take away what protection there is: the kernel looks at every page. */
export function addUnregister(batch: CallBatch, fd: number, start: bigint, length: bigint): void {
  batch.add(0, "ioctl", fd, UFFDIO_UNREGISTER, batch.address(new BigUint64Array([start, length])));
}

/**
 * The same of what has no protection any more, which takes some microseconds: registered for missing pages it is not for writes, and
 * then the kernel does not look. Who meets a missing page just then waits until the second call.
 */
export function addUnregisterUnprotected(batch: CallBatch, fd: number, start: bigint, length: bigint): void {
  batch.add(0, "ioctl", fd, UFFDIO_REGISTER, batch.address(new BigUint64Array([start, length, REGISTER_MODE_MISSING, 0n])));
  addUnregister(batch, fd, start, length);
}

/** Runs of pages that exist, ascending within each range. By index. */
export class PageRuns {
  constructor(
    private readonly words: BigInt64Array,
    readonly count: number,
  ) {}

  /** First page. */
  first(index: number): number {
    return Number((this.words[3 * index] as bigint) >> 12n);
  }

  /** Page behind the last. */
  end(index: number): number {
    return Number((this.words[3 * index + 1] as bigint) >> 12n);
  }

  /** Whether they may have been written to since they were protected. */
  isWritten(index: number): boolean {
    return ((this.words[3 * index + 2] as bigint) & 2n) !== 0n;
  }
}

/** Runs that a scan finds at most. */
const mostRuns = 1 << 16;

/**
 * Which pages exist, but for the page of zeros and guards. −errno; E2BIG if they are too scattered.
 * @param protects also protects them
 * @param ranges start and end each, ascending
 */
export function scanPages(pagemap: number, protects: boolean, ranges: BigInt64Array): PageRuns | number {
  const out = new BigInt64Array(3 * mostRuns);
  const count = addon().scanPages(pagemap, protects, ranges, out) ?? 0;
  return count < 0 ? count : new PageRuns(out, count);
}

/** The same by another thread, without protecting them. */
export class BackgroundScan {
  readonly #state = new BigInt64Array(2);

  private constructor(
    private readonly out: BigInt64Array,
    /** Belongs to the other thread. */
    readonly ranges: BigInt64Array,
  ) {}

  /** Room for the results, made before there is haste. */
  static room(): BigInt64Array {
    return new BigInt64Array(3 * mostRuns).fill(0n);
  }

  static begin(pagemap: number, ranges: BigInt64Array, room: BigInt64Array): BackgroundScan {
    const scan = new BackgroundScan(room, ranges);
    addon().scanPages(pagemap, false, ranges, room, scan.#state);
    return scan;
  }

  /** Waits for it. −errno if it failed. */
  wait(): PageRuns | number {
    const count = addon().awaitBackground(this.#state);
    return count < 0 ? count : new PageRuns(this.out, count);
  }
}
