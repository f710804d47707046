// SPDX-License-Identifier: Apache-2.0
/**
 * Programs whose memory is still being brought by somebody else: resumed lazily a moment ago. What is missing looks like
 * memory that was never touched, so a dump must wait until it is there. The pager fills it in by itself, but only while the
 * program is let go where that is in the middle of a change that the pager must hear of.
 */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";
import { refusal } from "./refusal.js";
import { type Mapping, vmFlag } from "./smaps.js";

const code = "paged";
const missing = vmFlag("um");
const pauseMs = 20;
/** Without progress for so long nobody brings anything. */
const patienceMs = 10_000;

interface PagedProcess {
  readonly pid: number;
  readonly name: string;
  readonly mappings: readonly Mapping[];
}

/**
 * @throws CrimgError `dump.paged` for memory that is registered with a userfaultfd of nobody in the tree. (One of its own is
 * refused later, by name.)
 */
export function assertNotPaged(processes: readonly PagedProcess[]): void {
  for (const { pid, name, mappings } of processes) {
    if (((mappings[0]?.table.summary.flags ?? 0n) & missing) === 0n) continue;
    const paged = mappings.find(({ vmFlags }) => (vmFlags & missing) !== 0n);
    if (paged === undefined || processes.some((one) => hasUserfaultfd(one.pid))) continue;
    const where = `${pid} (${name}): memory at 0x${paged.start.toString(16)}`;
    throw refusal(code, `${where}: its pages are brought by another process (userfaultfd), and some are missing`, {
      hint: "Let that process come to its end first. If it is gone, the program waits for these pages for ever.",
    });
  }
}

/** Whether a process has a userfaultfd itself: then it brings its own pages. */
function hasUserfaultfd(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === "anon_inode:[userfaultfd]";
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** True for an error of `assertNotPaged`. */
export function isPaged(error: unknown): error is CrimgError {
  return error instanceof CrimgError && error.code === `dump.${code}`;
}

/** Returns when no memory of the processes, which run, is registered with a userfaultfd any more. @throws `refused` */
export async function untilThere(pids: readonly number[], refused: CrimgError, check: () => void): Promise<void> {
  let resident = -1;
  let since = performance.now();
  for (;;) {
    check();
    const living = pids.filter(isPagedNow);
    if (living.length === 0) return;
    const now = living.reduce((sum, pid) => sum + residentPages(pid), 0);
    if (now !== resident) [resident, since] = [now, performance.now()];
    else if (performance.now() - since > patienceMs) throw refused;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function isPagedNow(pid: number): boolean {
  return /^VmFlags:.* um\b/m.test(textOf(`/proc/${pid}/smaps`));
}

function residentPages(pid: number): number {
  return Number(textOf(`/proc/${pid}/statm`).split(" ")[1] ?? 0);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
