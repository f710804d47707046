/** Page bytes in the memory of a stopped process. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { close, failed, open, openFlag, pwriteFully, SysError, tryPread, tryReadMemory } from "../native/index.js";

/** Bytes moved at once: big enough that calls do not count, small enough to stay in the processor's cache. */
const bufferLength = 1 << 20;

/** Lets the process write its own memory into a file: one copy instead of two. See src/dump/self-writer.ts. */
export interface SelfWriter {
  /** Writes [address, address + length) to `fileOffset` of the output. Returns the bytes written, 0 if it cannot. */
  write(fd: number, fileOffset: bigint, address: bigint, length: bigint): bigint;
  close(): void;
}

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
  readonly #writer: SelfWriter | undefined;
  readonly #overlay: () => Overlay | undefined;
  #memFd = -1;
  #buffer: Buffer | undefined;

  constructor(pid: number, writer?: SelfWriter, overlay: () => Overlay | undefined = () => undefined) {
    this.#pid = pid;
    this.#writer = writer;
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
        let step = this.#writer?.write(fd, target, position, length) ?? 0n;
        if (step === 0n) step = this.#copy(fd, target, position, length);
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
    this.#writer?.close();
    if (this.#memFd >= 0) close(this.#memFd);
    this.#memFd = -1;
    this.#buffer = undefined;
  }
}
