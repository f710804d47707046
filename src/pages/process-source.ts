// SPDX-License-Identifier: Apache-2.0
/** Page bytes in the memory of a stopped process. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, DirectReading, PageSource } from "../model/page-source.js";
import { close, failed, open, openFlag, pwriteFully, SysError, tryPread } from "../native/index.js";

/** Bytes moved at once. */
const pieceLength = 1 << 18;

/** Bytes that the image must have instead of those in memory: what calls in the process have borrowed. */
export interface Overlay {
  readonly start: bigint;
  readonly end: bigint;
  readonly bytes: Uint8Array;
}

/**
 * The memory of a process that stands still while this is used. It is read through /proc/PID/mem: that takes what
 * protection hides (PROT_NONE, execute-only), and leaves pages shared that processes share since a fork.
 * process_vm_readv copies once where that copies twice (huge pages take half the time), but pins pages, for which the kernel
 * gives each process a copy of its own (gup_must_unshare): it is for processes that share next to nothing.
 */
export class ProcessPageSource implements PageSource {
  readonly name: string;
  readonly pid: number;
  readonly #overlay: () => Overlay | undefined;
  #memFd = -1;
  #buffer: Buffer | undefined;

  /**
   * @param mayPin the process has (almost) all its pages for itself
   * @param whenRead called when no page will be read any more, as `release`
   */
  constructor(
    pid: number,
    overlay: () => Overlay | undefined = () => undefined,
    private readonly mayPin = false,
    private readonly whenRead: (mayWait: boolean) => void = () => undefined,
  ) {
    this.pid = pid;
    this.#overlay = overlay;
    this.name = `process ${pid}`;
  }

  read(position: bigint, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) done += this.#readSome(position + BigInt(done), into.subarray(done));
    this.#patch(position, into);
  }

  #patch(position: bigint, into: Uint8Array): void {
    const overlay = this.#overlay();
    const end = position + BigInt(into.length);
    if (overlay === undefined || overlay.end <= position || overlay.start >= end) return;
    const from = overlay.start > position ? overlay.start : position;
    const to = overlay.end < end ? overlay.end : end;
    into.set(overlay.bytes.subarray(Number(from - overlay.start), Number(to - overlay.start)), Number(from - position));
  }

  #mem(): number {
    if (this.#memFd < 0) this.#memFd = open(`/proc/${this.pid}/mem`, openFlag.RDONLY);
    return this.#memFd;
  }

  #readSome(address: bigint, into: Uint8Array): number {
    const got = tryPread(this.#mem(), into, address);
    if (failed(got)) {
      throw new SysError("read", -got, `${this.name}, memory at 0x${address.toString(16)}`, { source: this.name });
    }
    if (got === 0) {
      throw new CrimgError("pages.short", `${this.name}: memory at 0x${address.toString(16)} cannot be read`, { source: this.name });
    }
    return got;
  }

  direct(): DirectReading {
    const overlay = this.#overlay();
    const [start, end] = [Number(overlay?.start ?? 0n), Number(overlay?.end ?? 0n)];
    return {
      fd: this.#mem(),
      pid: this.mayPin ? this.pid : undefined,
      expects: (position, length) => (position < end && position + length > start ? -1 : 0),
    };
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    let target = fileOffset;
    for (const range of ranges) {
      let { position, length } = range;
      while (length > 0n) {
        const step = this.#copy(fd, target, position, length);
        position += step;
        target += step;
        length -= step;
      }
    }
  }

  #copy(fd: number, target: bigint, position: bigint, length: bigint): bigint {
    this.#buffer ??= Buffer.allocUnsafeSlow(pieceLength);
    const chunk = this.#buffer.subarray(0, length < BigInt(pieceLength) ? Number(length) : pieceLength);
    this.read(position, chunk);
    pwriteFully(fd, chunk, target);
    return BigInt(chunk.length);
  }

  release(mayWait: boolean): void {
    this.whenRead(mayWait);
  }

  close(): void {
    if (this.#memFd >= 0) close(this.#memFd);
    this.#memFd = -1;
    this.#buffer = undefined;
  }
}
