/** Page bytes in the memory of a stopped process. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { close, failed, open, openFlag, pwriteFully, SysError, tryPread, tryReadMemory } from "../native/index.js";

/**
 * Bytes moved at once. The page cache takes blocks as large as a write: from 1 MiB on they are huge pages, and a virtual
 * machine that reports free memory to its host has to ask for those back, which was seen to turn 0.15 s for a GiB into
 * 2 to 3 s. Less than this stays in the processor's cache between the read and the write.
 *
 * That the frozen process writes its pages itself would spare that second copy; measured, it took 1.8 to 2.7 s a GiB
 * against 0.7 s, and put crimg's death in the middle of a write at the target's risk.
 */
const bufferLength = 1 << 18;

/** Bytes that the image must have instead of those in memory: what calls in the process have borrowed. */
export interface Overlay {
  readonly start: bigint;
  readonly end: bigint;
  readonly bytes: Uint8Array;
}

/** The memory of a process that stands still while this is used. */
export class ProcessPageSource implements PageSource {
  readonly name: string;
  readonly #pid: number;
  readonly #overlay: () => Overlay | undefined;
  #memFd = -1;
  #buffer: Buffer | undefined;

  constructor(pid: number, overlay: () => Overlay | undefined = () => undefined) {
    this.#pid = pid;
    this.#overlay = overlay;
    this.name = `process ${pid}`;
  }

  read(position: bigint, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const part = into.subarray(done);
      const address = position + BigInt(done);
      const got = tryReadMemory(this.#pid, address, part);
      done += got > 0 ? got : this.#readForced(address, part);
    }
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

  /** /proc/PID/mem reads what protection hides from process_vm_readv (PROT_NONE, execute-only). */
  #readForced(address: bigint, into: Uint8Array): number {
    if (this.#memFd < 0) this.#memFd = open(`/proc/${this.#pid}/mem`, openFlag.RDONLY);
    const got = tryPread(this.#memFd, into, address);
    if (failed(got)) {
      throw new SysError("read", -got, `${this.name}, memory at 0x${address.toString(16)}`, { source: this.name });
    }
    if (got === 0) {
      throw new CrimgError("pages.short", `${this.name}: memory at 0x${address.toString(16)} cannot be read`, { source: this.name });
    }
    return got;
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
    this.#buffer ??= Buffer.allocUnsafeSlow(bufferLength);
    const chunk = this.#buffer.subarray(0, length < BigInt(bufferLength) ? Number(length) : bufferLength);
    this.read(position, chunk);
    pwriteFully(fd, chunk, target);
    return BigInt(chunk.length);
  }

  close(): void {
    if (this.#memFd >= 0) close(this.#memFd);
    this.#memFd = -1;
    this.#buffer = undefined;
  }
}
