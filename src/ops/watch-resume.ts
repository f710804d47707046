// SPDX-License-Identifier: Apache-2.0
/**
 * How far a resume has come, seen from outside: once `crimg exec` has become the image, nothing of crimg is left in that process
 * that could tell. The bytes that the tree has read so far (rchar of proc_pid_io(5), of which ended children are part) are compared
 * with those that the image stores.
 */
import { readFileSync } from "node:fs";
import { listChildren, listThreads } from "../dump/procfs.js";

export interface ResumeWatch {
  /** The first process of the image. */
  readonly pid: number;
  /** Bytes that this process had read before it became the image. */
  readonly baseBytes: bigint;
  /** Bytes of pages that the image stores. */
  readonly totalBytes: bigint;
  readonly onProgress: (doneBytes: bigint, totalBytes: bigint) => void;
}

const pollMs = 100;
/** A tree that reads nothing for so long runs already, waits for something, or loads its pages later. */
const patienceMs = 3000;
/** With no more than this left, at the rate of the last moments, nothing more is said: the program may begin to print. */
const lastMs = 500;
/** Nothing is said before this part is read, one in: until then files are opened and processes made. */
const firstPart = 100n;

/** Bytes that a process has read; undefined if it is gone or may not be asked. */
export function bytesReadBy(pid: number): bigint | undefined {
  try {
    const count = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1];
    return count === undefined ? undefined : BigInt(count);
  } catch {
    return undefined;
  }
}

function bytesReadByTree(root: number): bigint {
  const pids = [root];
  let sum = 0n;
  for (const pid of pids) {
    sum += bytesReadBy(pid) ?? 0n;
    for (const tid of listThreads(pid) ?? []) pids.push(...(listChildren(pid, tid) ?? []));
  }
  return sum;
}

/** Tells until the pages are read, or nobody reads any more. */
export async function watchResume({ pid, baseBytes, totalBytes, onProgress }: ResumeWatch): Promise<void> {
  let last = 0n;
  let lastChange = performance.now();
  for (;;) {
    if (bytesReadBy(pid) === undefined) return;
    const found = bytesReadByTree(pid) - baseBytes;
    // What an ended child has read is not seen for the moment before its parent waits for it.
    const done = found > last ? found : last;
    const now = performance.now();
    const msOfRest = done > last ? (Number(totalBytes - done) * (now - lastChange)) / Number(done - last) : Infinity;
    if (done >= totalBytes || (last > 0n && msOfRest < lastMs) || now - lastChange > patienceMs) return;
    if (done > last) lastChange = now;
    last = done;
    if (done * firstPart >= totalBytes) onProgress(done, totalBytes);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
