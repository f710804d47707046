// SPDX-License-Identifier: Apache-2.0
/** Why a tree cannot be rehearsed here, asked before it is tried: a rehearsal makes a second copy of everything. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { CrimgError } from "../errors/crimg-error.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { refusal } from "../dump/refusal.js";
import { formatBytes } from "./units.js";

/** What else a resume needs beside the pages, bytes: page tables, kernel objects. */
const spare = 64n << 20n;

function number(path: string): bigint | undefined {
  try {
    const text = readFileSync(path, "latin1").trim();
    return /^\d+$/.test(text) ? BigInt(text) : undefined;
  } catch {
    return undefined;
  }
}

/** Bytes that the memory controller of a cgroup still gives (cgroup v2); undefined where nothing limits it. */
function roomInCgroup(folder: string): bigint | undefined {
  const limit = number(join(folder, "memory.max"));
  const used = number(join(folder, "memory.current"));
  if (limit === undefined || used === undefined) return undefined;
  let reclaimable = 0n;
  try {
    reclaimable = BigInt(/^inactive_file (\d+)$/m.exec(readFileSync(join(folder, "memory.stat"), "latin1"))?.[1] ?? 0);
  } catch {
    // Then nothing counts as reclaimable.
  }
  return limit - used + reclaimable;
}

/**
 * Bytes of memory that a new process of ours can fill before something is killed for it: MemAvailable of proc(5), and the
 * limits of the cgroup that we are in and of those above it.
 */
export function availableMemory(): bigint | undefined {
  const rooms: bigint[] = [];
  try {
    const available = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "latin1"))?.[1];
    if (available !== undefined) rooms.push(BigInt(available) << 10n);
    let path = /^0::(\/.*)$/m.exec(readFileSync("/proc/self/cgroup", "latin1"))?.[1];
    while (path !== undefined) {
      const room = roomInCgroup(join("/sys/fs/cgroup", path));
      if (room !== undefined) rooms.push(room);
      path = path === "/" ? undefined : join(path, "..");
    }
  } catch {
    // What cannot be read limits nothing that we know of.
  }
  return rooms.length === 0 ? undefined : rooms.reduce((least, one) => (one < least ? one : least));
}

/** The reason why a rehearsal of this tree would fail, or would do harm, though its image may resume. */
export function rehearsalObstacle({ tables }: Checkpoint): CrimgError | undefined {
  const hint = "Leave --rehearse out.";
  if (tables.fileLocks.some(({ kind }) => kind === "lease")) {
    return refusal("rehearse-lease", "the program holds a lease on a file, and a rehearsal would break it by opening that file", { hint });
  }
  if (new Set(tables.mounts.map(({ namespace }) => namespace)).size > 1) {
    return refusal("rehearse-namespaces", "a tree in several mount namespaces cannot be rehearsed", { hint });
  }
  if (tables.cudaProcesses.length > 0) return refusal("rehearse-gpu", "a program that uses GPUs cannot be rehearsed", { hint });
  const needed = tables.extents.reduce((sum, { length }) => sum + length, spare);
  const room = availableMemory();
  if (room !== undefined && room < needed) {
    return refusal("rehearse-memory", "not enough memory for a second copy of the tree", {
      expected: `${formatBytes(needed)} available`,
      actual: formatBytes(room > 0n ? room : 0n),
      hint,
    });
  }
  return undefined;
}
