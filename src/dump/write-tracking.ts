// SPDX-License-Identifier: Apache-2.0
/**
 * Which pages of a running process are written to. Its memory is write-protected with a userfaultfd of it (UFFD_FEATURE_WP_ASYNC,
 * Linux 6.7): at a write the kernel takes the protection away itself, and a scan of the page tables tells where. A helper
 * that shares its memory makes the userfaultfd while it stands still for a moment (fork-snapshot.ts). When crimg lets go of the
 * descriptor, or dies, the kernel undoes everything.
 *
 * What moves (mremap), or is mapped anew, is not registered any more, which the scan tells too; so is what was unmapped, discarded, or
 * never there before.
 */
import {
  addUnprotect,
  addUnregister,
  addUnregisterUnprotected,
  BackgroundScan,
  CallBatch,
  close,
  failed,
  openFlag,
  type PageRuns,
  scanPages,
  tryOpen,
  tryRegister,
  tryTrackWrites,
} from "../native/index.js";
import { CrimgError } from "../errors/crimg-error.js";
import { errnoMessage } from "../linux/errno.js";
import { assert64Bit } from "./admission.js";
import { isWaiting, unseenWriter } from "./asynchronous-writes.js";
import { SnapshotRefused, takeUserfaultfd } from "./fork-snapshot.js";
import { FrozenTree } from "./freeze.js";
import { unpin } from "./pin.js";
import { findGadgets, type Gadgets, type MappedRange } from "./gadgets.js";
import { Injector } from "./injector.js";
import { type MapsLine, parseMaps } from "./maps-lines.js";
import { listThreads, procPath, readMaps, readStatus } from "./procfs.js";
import { getReg } from "./registers.js";
import { checkDispatch } from "./sharing.js";
import { leaveTracked, noteTracked } from "./smaps.js";

/** Bytes of a mapping that are worth it. */
const worth = 256n << 10n;
/** Mappings that are tracked at most. */
const mostMappings = 8192;
/** Looks at the threads, a millisecond apart, until they are stopped to see where they are. */
const mostLooks = 4;
/** Bytes whose protection is taken away at once, and how long others are let in between, nanoseconds. */
const step = 16n << 20n;
const betweenSteps = new BigInt64Array([0n, 20_000n]);

/** Bytes that are looked at in one call: in the meantime the program cannot map what calls in it need. */
const scanStep = 64n << 20n;

/** Such parts, roughly. */
const mostSteps = 1024n;

/** Why writes to a process cannot be tracked. */
export class NotTracked extends Error {}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

export class WriteTracking {
  #fd = -1;
  #isForCalls = false;
  #pagemap = -1;
  #scan: BackgroundScan | undefined;
  #end: Promise<void> | undefined;
  readonly #room = BackgroundScan.room();
  /** Start and end of each registered mapping, ascending. */
  #ranges = new BigInt64Array(0);

  private constructor(
    readonly pid: number,
    private readonly onStop: (milliseconds: number) => void,
  ) {}

  /** Bytes of private memory of a process. */
  static residentIn(pid: number): bigint {
    return BigInt(/^\d+/.exec(readStatus(procPath(pid))?.get("RssAnon") ?? "")?.[0] ?? "0") << 10n;
  }

  /**
   * @param find where its code has what calls need
   * @param onStop told how long the process has stood still for it, whenever it has
   * @throws NotTracked; the process runs as before
   */
  static async begin(pid: number, find: () => Gadgets | undefined, onStop: (milliseconds: number) => void): Promise<WriteTracking> {
    const status = readStatus(procPath(pid));
    if (status?.get("Seccomp") !== "0") throw new NotTracked("it has a seccomp filter");
    if (/shstk/.test(status.get("x86_Thread_features") ?? "")) throw new NotTracked("it has a shadow stack");
    const obstacle = unseenWriter(pid);
    if (obstacle !== undefined) throw new NotTracked(obstacle);
    const wanted = parseMaps(readMaps(pid)).filter(isFit);
    if (wanted.length === 0 || wanted.length > mostMappings) throw new NotTracked(`it has ${wanted.length} larger mappings`);
    const gadgets = find();
    if (gadgets === undefined) throw new NotTracked("its code is not known");
    const tracking = new WriteTracking(pid, onStop);
    try {
      tracking.#take(gadgets);
      tracking.#register(wanted);
      return tracking;
    } catch (error) {
      await tracking.close();
      throw error;
    }
  }

  /** Has a helper of the process make a userfaultfd, and takes it. */
  #take(hint: Gadgets): void {
    this.#whileStopped((tree) => {
      const frozen = tree.process(this.pid);
      const [leader] = frozen?.threads ?? [];
      if (frozen === undefined || leader === undefined) throw new NotTracked("it has ended");
      assert64Bit(this.pid, getReg(leader.regs, "cs"));
      checkDispatch({ pid: this.pid, name: "", frozen });
      const ranges = parseMaps(readMaps(this.pid));
      const gadgets = findGadgets(this.pid, ranges, hint);
      if (gadgets === undefined) throw new NotTracked("no call can be made in it");
      const injector = new Injector(leader, { gadgets, ranges, writable: writableOf(ranges) });
      try {
        const { fd, isForCalls } = takeUserfaultfd({ pid: this.pid, frozen, injector: () => injector });
        [this.#fd, this.#isForCalls] = [fd, isForCalls];
      } catch (error) {
        throw error instanceof SnapshotRefused ? new NotTracked(error.message) : error;
      } finally {
        injector.close();
      }
    });
  }

  #register(wanted: readonly MappedRange[]): void {
    const agreed = tryTrackWrites(this.#fd);
    if (failed(agreed)) throw new NotTracked(`UFFDIO_API: ${errnoMessage(-agreed)}`);
    // What cannot be registered has been unmapped, or is somebody else's.
    const ranges = wanted.filter(({ start, end }) => !failed(tryRegister(this.#fd, start, end - start)));
    this.#ranges = BigInt64Array.from(ranges.flatMap(({ start, end }) => [start, end]));
    noteTracked(this.pid, this.#ranges);
    this.#pagemap = tryOpen(`${procPath(this.pid)}/pagemap`, openFlag.RDONLY);
    if (failed(this.#pagemap)) throw new NotTracked(`its page tables cannot be read: ${errnoMessage(-this.#pagemap)}`);
  }

  /** Stops all threads for a moment. None is in a system call then. */
  #whileStopped(work: (tree: FrozenTree) => void): void {
    const begin = performance.now();
    let tree: FrozenTree | undefined;
    try {
      tree = FrozenTree.freeze(this.pid, { noTree: true });
      work(tree);
    } catch (error) {
      // The dump itself will tell it.
      throw error instanceof CrimgError ? new NotTracked(error.message) : error;
    } finally {
      tree?.release();
      unpin();
      this.onStop(performance.now() - begin);
    }
  }

  /** The pages of what is tracked. @throws NotTracked */
  scan(): PageRuns {
    return told(scanPages(this.#pagemap, false, this.#ranges));
  }

  /**
   * The same, and protects them all. When it returns nobody has them from before: what they hold then is what they hold for as
   * long as they are not told as written.
   * @throws NotTracked
   */
  async protect(): Promise<PageRuns> {
    const runs = told(scanPages(this.#pagemap, true, this.#ranges));
    const obstacle = unseenWriter(this.pid);
    if (obstacle !== undefined) throw new NotTracked(obstacle);
    await this.#untilNoneIsInACall();
    return runs;
  }

  async #untilNoneIsInACall(): Promise<void> {
    let left = listThreads(this.pid) ?? [];
    for (let look = 0; look < mostLooks && left.length > 0; look++) {
      if (look > 0) await pause();
      left = left.filter((tid) => !isWaiting(this.pid, tid));
    }
    // A thread stops where it returns to the program.
    if (left.length > 0) this.#whileStopped(() => undefined);
  }

  /** While the process stands still: begins to look which pages are as they were. */
  beginScan(): void {
    // Not that of before: an execve may have given it other memory.
    this.#scan?.wait();
    this.#scan = undefined;
    const pagemap = tryOpen(`${procPath(this.pid)}/pagemap`, openFlag.RDONLY);
    if (failed(pagemap)) return;
    close(this.#pagemap);
    this.#pagemap = pagemap;
    this.#scan = BackgroundScan.begin(pagemap, BigInt64Array.from(this.#steps(scanStep).flat()), this.#room);
  }

  /** What `beginScan` found. @throws NotTracked */
  awaitScan(): PageRuns {
    if (this.#scan === undefined) throw new NotTracked("its page tables cannot be read");
    const found = this.#scan.wait();
    this.#scan = undefined;
    return told(found);
  }

  /** Whether an address belongs to what was registered. */
  get ranges(): BigInt64Array {
    return this.#ranges;
  }

  /** What is registered, in parts of so many bytes; of more, where much is reserved that holds next to nothing. */
  #steps(least: bigint): [bigint, bigint][] {
    const steps: [bigint, bigint][] = [];
    const total = this.#ranges.reduce((sum, at, index) => (index % 2 === 0 ? sum - at : sum + at), 0n);
    const share = (total / mostSteps) & -4096n;
    const length = share > least ? share : least;
    for (let index = 0; index < this.#ranges.length; index += 2) {
      const end = this.#ranges[index + 1] as bigint;
      for (let at = this.#ranges[index] as bigint; at < end; at += length) steps.push([at, at + length < end ? at + length : end]);
    }
    return steps;
  }

  /**
   * Begins to end it, by another thread; the process may run. No mapping is cut, not even for a moment: mremap(2) would fail.
   * So protection is taken away bit by bit, 18 ms for a GiB, in which nobody waits for long, and each mapping is then let go of
   * as a whole. Where something is not as it was, the rest goes with the descriptor. In calls of a program that may have only
   * userfaultfds of user mode, a page that is missing just then would be an error: it waits with its maps instead.
   */
  letGo(): void {
    if (this.#fd < 0 || this.#end !== undefined) return;
    const parts = this.#isForCalls ? this.#steps(step) : [];
    const batch = new CallBatch(2 * parts.length + this.#ranges.length);
    const pause = batch.address(betweenSteps);
    for (const [start, end] of parts) {
      addUnprotect(batch, this.#fd, start, end - start);
      batch.add(0, "nanosleep", pause, 0);
    }
    const add = this.#isForCalls ? addUnregisterUnprotected : addUnregister;
    for (let index = 0; index < this.#ranges.length; index += 2) {
      const start = this.#ranges[index] as bigint;
      add(batch, this.#fd, start, (this.#ranges[index + 1] as bigint) - start);
    }
    this.#end = batch.run();
  }

  /** Ends it; the process may run. May be called again. */
  async close(): Promise<void> {
    if (this.#scan !== undefined) this.#scan.wait();
    this.#scan = undefined;
    this.letGo();
    await this.#end;
    for (const fd of [this.#fd, this.#pagemap]) if (fd >= 0) close(fd);
    [this.#fd, this.#pagemap] = [-1, -1];
    leaveTracked(this.pid);
  }
}

/** Start and end of what can be read and written; ranges that touch are joined. */
function writableOf(ranges: readonly MappedRange[]): BigInt64Array {
  const found: bigint[] = [];
  for (const { start, end, isReadable, isWritable } of ranges) {
    if (!isReadable || !isWritable) continue;
    if (found.at(-1) === start) found[found.length - 1] = end;
    else found.push(start, end);
  }
  return BigInt64Array.from(found);
}

function told(found: PageRuns | number): PageRuns {
  if (typeof found === "number") throw new NotTracked(`ioctl(PAGEMAP_SCAN): ${errnoMessage(-found)}`);
  return found;
}

/** What has a name is a file's, a device's, or made of huge pages. Whatever else cannot be registered the kernel will say. */
function isFit({ start, end, isShared, text }: MapsLine): boolean {
  return !isShared && end - start >= worth && (text === "" || text === "[heap]" || text === "[stack]" || text.startsWith("[anon:"));
}
