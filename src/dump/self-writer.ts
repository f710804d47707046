/**
 * The frozen process writes its own memory into the output: the pages are copied once, from its memory into the page
 * cache. It opens the output through /proc/<crimg>/fd/N; should crimg die, the guard of the injector closes that
 * descriptor again. Where the process cannot or had better not write (a file size limit would send it SIGXFSZ, a
 * memory limit would charge the page cache to it), crimg copies through process_vm_readv instead.
 */
import { errno, failed, openFlag, tryListDirectory, tryPrlimit, tryReadSmall, AT_FDCWD, cString } from "../native/index.js";
import type { SelfWriter } from "../pages/process-source.js";
import type { DumpedProcess } from "./context.js";
import { procPath } from "./procfs.js";

/** Below this a round trip through the tracer costs more than a second copy does, bytes. */
const worthwhile = 128n << 10n;
/** One call moves at most this much, so that crimg looks around now and then, bytes. */
const maximum = 64n << 20n;

const RLIMIT_FSIZE = 1;
const infinity = 0xffff_ffff_ffff_ffffn;

export class TargetWriter implements SelfWriter {
  readonly #process: DumpedProcess;
  /** The output as crimg knows it, and the target's descriptor of it. */
  #opened: { readonly fd: number; readonly targetFd: number } | undefined;
  #isUnable: boolean;

  constructor(process: DumpedProcess) {
    this.#process = process;
    this.#isUnable = !mayWrite(process.pid);
  }

  write(fd: number, fileOffset: bigint, address: bigint, length: bigint): bigint {
    if (this.#isUnable || length < worthwhile) return 0n;
    const injector = this.#process.injector();
    let size = length < maximum ? length : maximum;
    // What calls borrow now is not what the image must have: the caller patches those pages.
    const borrowed = injector.borrowed;
    if (borrowed !== undefined && address < borrowed.end && address + size > borrowed.start) {
      if (address >= borrowed.start || borrowed.start - address < worthwhile) return 0n;
      size = borrowed.start - address;
    }
    const targetFd = this.#open(fd);
    if (targetFd < 0) return 0n;
    const written = injector.call("pwrite64", targetFd, address, size, fileOffset);
    if (written > 0) return BigInt(written);
    // Unreadable pages are the caller's business; any other trouble it will meet itself, and name.
    if (written !== -errno.EFAULT) this.#isUnable = true;
    return 0n;
  }

  /** The target's descriptor of the output, or −1. */
  #open(fd: number): number {
    if (this.#opened?.fd === fd) return this.#opened.targetFd;
    this.close();
    const injector = this.#process.injector();
    const next = lowestFree(this.#process.pid);
    // The guard comes first: closing a number that is not open harms nobody, for the descriptor table stands still.
    injector.guardDescriptor(next);
    const path = cString(`/proc/${process.pid}/fd/${fd}`);
    const targetFd = injector.call("openat", AT_FDCWD, { in: path }, openFlag.WRONLY | openFlag.CLOEXEC, 0);
    if (failed(targetFd) || targetFd !== next) {
      if (!failed(targetFd)) injector.call("close", targetFd);
      injector.guardDescriptor(undefined);
      this.#isUnable = true;
      return -1;
    }
    this.#opened = { fd, targetFd };
    return targetFd;
  }

  close(): void {
    if (this.#opened === undefined) return;
    const injector = this.#process.injector();
    injector.call("close", this.#opened.targetFd);
    injector.guardDescriptor(undefined);
    this.#opened = undefined;
  }
}

/** The number that the next descriptor of a frozen process gets. */
function lowestFree(pid: number): number {
  const names = tryListDirectory(`${procPath(pid)}/fd`);
  const used = new Set(typeof names === "number" ? [] : names.map(Number));
  let fd = 0;
  while (used.has(fd)) fd++;
  return fd;
}

function mayWrite(pid: number): boolean {
  const limit = tryPrlimit(pid, RLIMIT_FSIZE);
  if (typeof limit === "number" || limit.soft !== infinity) return false;
  return !hasMemoryLimit(pid);
}

/** Whether a cgroup with a memory limit holds the process and not crimg. */
function hasMemoryLimit(pid: number): boolean {
  const cgroup = (who: string): string => tryReadSmall(`/proc/${who}/cgroup`)?.toString("utf8") ?? "";
  const theirs = cgroup(String(pid));
  if (theirs === cgroup("self")) return false;
  const path = /^0::(.*)$/m.exec(theirs)?.[1];
  if (path === undefined) return true;
  for (let folder = path; folder !== "" && folder !== "/"; folder = folder.slice(0, folder.lastIndexOf("/"))) {
    const limit = tryReadSmall(`/sys/fs/cgroup${folder}/memory.max`)?.toString("latin1").trim();
    if (limit !== undefined && limit !== "max") return true;
  }
  return false;
}
