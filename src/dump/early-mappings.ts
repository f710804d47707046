// SPDX-License-Identifier: Apache-2.0
/**
 * The mappings of a process, read before it is frozen. Only smaps tells their flags, and
 * for that the kernel looks at every page, 14 ms for a GiB of small ones, and writes 700 bytes a mapping, 25 ms for ten thousand.
 * Likewise numa_maps, which alone tells that mappings have memory policies. While the process stands still it is only asked
 * whether its mappings are where they were (maps: a tenth of that). What that does not tell, flags and policies that an madvise or
 * mbind has changed in between, is looked at when the process runs again: in the fork of it that keeps its memory, by another
 * thread while the image is written. If anything differs, the dump begins anew without this.
 */
import { areSameMappings } from "../native/index.js";
import { procPath, readMaps, readStatus, type StatusFields } from "./procfs.js";
import { changingFiles } from "./let-go.js";
import { type Mapping, type MappingsRead, readMappings, vmFlags } from "./smaps.js";
import { showsPolicy } from "./memory-policies.js";
import { beginLookAtSpace, lookAtSpace, type PendingLook, type SpaceLook } from "./tree-facts.js";

/** Bytes of maps from which on another thread reads: of a thousand mappings. */
const manyMappings = 1 << 16;
/** Flags that a fork does not have as its parent has them, or that it has no mapping with. */
const notForked = vmFlags("lo", "lf", "dc", "um", "uw", "ui");

/** Sizes of mappings by kinds (proc_pid_status(5)): what is mapped, unmapped or protected changes one of them. */
const sizes = ["VmSize", "VmData", "VmStk", "VmExe", "VmLib", "VmPin"];

/** Flags that follow from the protection, which maps tells, and mprotect(2) changes. */
const byProtection = vmFlags("rd", "wr", "ex", "ac");

/** What was read before the freeze is not so any more. */
export class StaleMappings extends Error {}

/** The same where it could not be found out in a fork. */
export class StalePreCopy extends StaleMappings {}

export class EarlyMappings {
  #isTaken = false;
  /** What status said before, where maps are not to be compared while the process stands still. */
  #status: StatusFields | undefined;
  #isRunning = false;
  #look: PendingLook | undefined;
  /** Where maps are read to while the process stands still: there already. */
  readonly #room: Buffer;

  private constructor(
    readonly pid: number,
    readonly mappings: Mapping[],
    private readonly maps: Buffer,
    /** Whether no mapping, and not the first thread, has a memory policy. */
    readonly haveNoPolicy: boolean,
    /** Of what a fork of the process keeps, files that may be others a moment later; undefined if a fork does not keep everything. */
    readonly changing: readonly Mapping[] | undefined,
  ) {
    this.#room = Buffer.alloc(maps.length + 1);
  }

  /**
   * Begins to read them; what it returns is to be called right before the freeze, once, and waits for them.
   * @param maps what maps says now; undefined where the process is gone
   * @param willLook it will probably be looked while the process stands still: what that tells is not looked at twice
   */
  static begin(pid: number, maps: Buffer | undefined, willLook = false): () => EarlyMappings | undefined {
    const read = maps === undefined || maps.length < manyMappings ? undefined : beginLookAtSpace(pid, maps.length, !willLook, true);
    if (maps === undefined || read === undefined) return () => EarlyMappings.read(pid);
    const status = willLook ? readStatus(procPath(pid)) : undefined;
    return () => {
      const early = EarlyMappings.#of(pid, maps, read.wait);
      if (early !== undefined) early.#status = status;
      return early;
    };
  }

  /** Reads them. Undefined where they could not be confirmed. */
  static read(pid: number): EarlyMappings | undefined {
    const maps = readMaps(pid);
    return maps === undefined ? undefined : EarlyMappings.#of(pid, maps, () => lookAtSpace(pid));
  }

  static #of(pid: number, maps: Buffer, read: () => SpaceLook): EarlyMappings | undefined {
    try {
      const { mappings: rows, numaMaps } = read();
      const mappings = readMappings(pid, rows);
      const [first] = mappings;
      if (first === undefined || (first.table.summary.flags & notForked) !== 0n) return undefined;
      return new EarlyMappings(pid, mappings, maps, numaMaps === undefined || !showsPolicy(numaMaps), changingFiles(mappings));
    } catch {
      // It cannot be looked into, or has ended: the dump itself will say so.
      return undefined;
    }
  }

  /**
   * While the process stands still: the mappings, if they seem to be the same as before.
   * @param status of the process, if it is known
   * @param looks it will be looked while it stands still: that they have the same sizes in all is enough until then
   */
  take(status = readStatus(procPath(this.pid)), looks = false): Mapping[] | undefined {
    const before = looks ? this.#status : undefined;
    const isSame = before === undefined ? this.#hasSameMaps() : sizes.every((name) => before.get(name) === status?.get(name));
    this.#isTaken = isSame && /^0 /.test(status?.get("VmLck") ?? "");
    return this.#isTaken ? this.mappings : undefined;
  }

  #hasSameMaps(): boolean {
    const now = readMaps(this.pid, this.#room);
    return now !== undefined && this.maps.equals(now);
  }

  /**
   * Begins to look whether they were the same, if they have been taken.
   * @param pid the process, while it stands still, or its fork, which must be there until `awaitLook` has returned
   */
  look(pid: number): void {
    if (this.#isTaken) this.#look = beginLookAtSpace(pid, this.maps.length);
  }

  /**
   * The same, of the process itself when it runs again, where it has no fork: of what it has mapped since nothing is expected. That
   * the flags of a mapping change just before it stands still, and back just after, is not seen.
   */
  lookAgain(): void {
    this.look(this.pid);
    this.#isRunning = true;
  }

  /** Waits until it has been looked. False: it has not, and `mayWait` is false. */
  awaitLook(mayWait: boolean): boolean {
    if (this.#look === undefined) return true;
    if (!mayWait && !this.#look.isOver()) return false;
    const look = this.#look.wait();
    this.#look = { isOver: () => true, wait: () => look };
    return true;
  }

  #haveSameFlags(now: MappingsRead): boolean {
    const after = readMappings(this.pid, now);
    let next = 0;
    return this.mappings.every(({ start, end, vmFlags, pkey }) => {
      while ((after[next]?.end ?? end) <= start) next++;
      let at = start;
      for (let index = next; at < end; index++) {
        const one = after[index];
        if (one === undefined || one.start > at || one.pkey !== pkey || ((one.vmFlags ^ vmFlags) & ~byProtection) !== 0n) return false;
        at = one.end;
      }
      return true;
    });
  }

  /** What `confirm` throws if they were not the same: then that is why something else went wrong. */
  staleness(): StaleMappings | undefined {
    try {
      this.confirm();
    } catch (error) {
      if (error instanceof StaleMappings) return error;
    }
    return undefined;
  }

  /** @throws StaleMappings if they were not the same, SysError if it could not be looked */
  confirm(): void {
    if (this.#look === undefined) return;
    const { mappings: now, numaMaps } = this.#look.wait();
    const before = this.mappings[0]?.table;
    const isSame = this.#isRunning
      ? this.#haveSameFlags(now)
      : before?.names.equals(now.names) === true && areSameMappings(before.rows, now.rows);
    // Policies that there were before have been asked for while it stood still.
    const hasPolicy = this.haveNoPolicy && numaMaps !== undefined && showsPolicy(numaMaps);
    if (isSame && !hasPolicy) {
      this.#look = undefined;
      return;
    }
    throw new (this.#isRunning ? StalePreCopy : StaleMappings)("its mappings have changed while it was being frozen");
  }
}
