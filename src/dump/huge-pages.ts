// SPDX-License-Identifier: Apache-2.0
/**
 * `--huge-pages`: before a tree is frozen, its memory is made huge pages where it is full. A fork copies a GiB of page tables in
 * half a millisecond then instead of 25 ms, and smaps, which is read while the tree stands still, in a quarter instead of 14
 * (measured, Linux 6.18). The program runs on meanwhile, and has the same bytes after it as before.
 *
 * Left as it is: what the program (MADV_NOHUGEPAGE, PR_SET_THP_DISABLE) wants in small pages; what processes share since a fork,
 * which would become twice as much; and what is not full, which would take more memory than before.
 */
import { logStep } from "../errors/log.js";
import { errno, errnoMessage } from "../linux/errno.js";
import { close, extentKind, failed, findExtents, openFlag, tryCall, tryOpen, tryPidfdOpen } from "../native/index.js";
import { listChildren, listThreads } from "./procfs.js";
import { type Mapping, readMappings, vmFlags } from "./smaps.js";

const MADV_COLLAPSE = 25;
const hugePage = 2n << 20n;
/** Bytes of one call: whoever touches memory meanwhile waits for one huge page of it, at most. */
const step = 8n * hugePage;
/**
 * Milliseconds of a processor that a huge page may take on average, and what may be lost until that shows. It takes half of one;
 * where the kernel must first move others out of the way, or a host find memory for its guest, 2 to 5.
 */
const worth = 1;
const mostLost = 50;

/** Mappings that have no huge pages, or where they would be somebody else's business. */
const unfit = vmFlags("nh", "ht", "um", "uw", "ui", "ss", "io", "pf", "dp");

const isFit = ({ isShared, ino, vmFlags, anonymous, shared }: Mapping): boolean =>
  !isShared && ino === 0n && anonymous >= hugePage && shared === 0n && (vmFlags & unfit) === 0n;

export interface HugePageOptions {
  /** With descendants. */
  readonly isTree: boolean;
  /** Called often; throws if nothing more is to be done. */
  readonly check: () => void;
}

/** Best effort: what cannot be done is said in the log, and left. Throws only what `check` throws. */
export function makeHugePages(root: number, { isTree, check }: HugePageOptions): void {
  const begin = performance.now();
  const work = new Work(check);
  try {
    for (const pid of isTree ? treeOf(root) : [root]) if (!work.ofProcess(pid)) break;
  } finally {
    logStep(() => `made ${work.bytes >> 20n} MiB huge pages in ${Math.round(performance.now() - begin)} ms${work.obstacle}`);
  }
}

/** As far as it can be seen: children that come meanwhile are none of the first. */
function treeOf(root: number): number[] {
  const pids = [root];
  for (const pid of pids) for (const tid of listThreads(pid) ?? []) pids.push(...(listChildren(pid, tid) ?? []));
  return pids;
}

class Work {
  /** Made huge, or found so. */
  bytes = 0n;
  /** Why there are not more, for the log. */
  obstacle = "";
  /** Milliseconds. */
  #gain = 0;

  constructor(private readonly check: () => void) {}

  /** Returns whether to go on. */
  ofProcess(pid: number): boolean {
    const pidfd = tryPidfdOpen(pid);
    if (failed(pidfd)) return true;
    const pagemap = tryOpen(`/proc/${pid}/pagemap`, openFlag.RDONLY);
    try {
      if (failed(pagemap)) return true;
      return fullRuns(pid, pagemap).every(({ start, end }) => this.#collapse(pidfd, start, end));
    } finally {
      close(pidfd);
      if (!failed(pagemap)) close(pagemap);
    }
  }

  #collapse(pidfd: number, start: bigint, end: bigint): boolean {
    for (let at = start; at < end; ) {
      this.check();
      const length = end - at < step ? end - at : step;
      const then = process.cpuUsage();
      const result = tryCall("process_madvise", pidfd, new BigUint64Array([at, length]), 1, MADV_COLLAPSE, 0);
      if (!failed(result)) this.bytes += length;
      else if (result === -errno.EPERM || result === -errno.ENOSYS) {
        this.obstacle = `: ${errnoMessage(-result)}`;
        return false;
      }
      const { user, system } = process.cpuUsage(then);
      this.#gain += Number(length / hugePage) * worth - (user + system) / 1000;
      if (this.#gain < -mostLost) {
        this.obstacle = ": more take too long to get";
        return false;
      }
      at += length;
    }
    return true;
  }
}

/** Whole huge pages that are there to the last small one. */
function fullRuns(pid: number, pagemap: number): { readonly start: bigint; readonly end: bigint }[] {
  let mappings: Mapping[];
  try {
    mappings = readMappings(pid);
  } catch {
    return []; // It has ended, or cannot be looked into: the freeze will tell.
  }
  const [first] = mappings;
  if (first === undefined || !mappings.some(isFit)) return [];
  const kinds = Uint8Array.from(mappings, (mapping) => (isFit(mapping) ? extentKind.mayBeFull : extentKind.noPlace));
  const found = findExtents(pagemap, first.table.rows, kinds);
  if (typeof found === "number") return [];
  const runs: { start: bigint; end: bigint }[] = [];
  for (let index = 0; index < found.runs.length; index += 2) {
    const start = ((found.runs[index] as bigint) + hugePage - 1n) & -hugePage;
    const end = (found.runs[index + 1] as bigint) & -hugePage;
    if (start < end) runs.push({ start, end });
  }
  return runs;
}
