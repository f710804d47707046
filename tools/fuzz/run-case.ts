// SPDX-License-Identifier: Apache-2.0
/** One case: mutate a file of a seed, read the set, touch everything, put the file back. */
import { closeSync, ftruncateSync, futimesSync, openSync, readSync, writeSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { deserialize, serialize } from "node:v8";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { collect, renderJson, renderText, sectionNames } from "../../src/ops/show.js";
import { validateImage } from "../../src/ops/validate.js";
import { pathLocator } from "../../src/validate/locate.js";
import type { FormatAdapter } from "../../src/adapter/format.js";
import { type Seed, fileTime } from "./corpus.js";
import { changedFields } from "./differences.js";
import { mutate } from "./mutate.js";
import { Random } from "./random.js";

export type Outcome =
  /** The reader refused it, at a place. */
  | "refused"
  /** The same model came out: nothing changed that the format holds. */
  | "same"
  /** Another model, and validate found fault with it. */
  | "found"
  /** Another model, and validate found nothing. */
  | "unnoticed"
  /** Something was thrown that is no CrimgError. */
  | "crash"
  /** A CrimgError that says no place. */
  | "unlocated";

export interface CaseResult {
  readonly outcome: Outcome;
  readonly seed: string;
  readonly file: string;
  readonly detail?: string;
}

/** Models of the unmutated seeds, and what validate says of them anyway. */
export interface Baseline {
  readonly tables: Buffer;
  readonly decoded: Parameters<typeof changedFields>[0];
  readonly findings: number;
}

const largeBytes = 1 << 19;

/** Page bytes looked at in each case: accessors must stand hostile extents. */
const touchedExtents = 8;

/** What depends on the rows alone. */
function touchRows(checkpoint: Checkpoint, format: FormatAdapter, writers: readonly FormatAdapter[]): void {
  for (const section of sectionNames) {
    const document = collect(checkpoint, { source: "case", format: format.id, section });
    renderText(document, { color: false });
    renderJson(document, checkpoint);
  }
  for (const writer of writers) {
    try {
      writer.losses?.(checkpoint, {});
    } catch (error) {
      if (!(error instanceof CrimgError)) throw error;
    }
  }
}

/** What depends on the files as well. Returns how many findings there are. */
function touchFiles(path: string, checkpoint: Checkpoint, format: FormatAdapter): number {
  const { findings } = validateImage(path, checkpoint, { source: "case", format, locate: pathLocator });
  const page = new Uint8Array(4096);
  for (const extent of checkpoint.tables.extents.slice(0, touchedExtents)) {
    try {
      checkpoint.sources[extent.source]?.read(extent.fileOffset, page);
    } catch (error) {
      if (!(error instanceof CrimgError)) throw error;
    }
  }
  return findings.length;
}

/** Equal values may be encoded in different ways (a string with one or two bytes a character). */
function isSame(tables: Checkpoint["tables"], baseline: Baseline): boolean {
  const bytes = serialize(tables);
  return bytes.equals(baseline.tables) || isDeepStrictEqual(deserialize(bytes), baseline.decoded);
}

export async function baselineOf(seed: Seed, writers: readonly FormatAdapter[]): Promise<Baseline> {
  const checkpoint = await seed.format.read?.(seed.path, {});
  if (checkpoint === undefined) throw new Error(`${seed.name} cannot be read`);
  try {
    const tables = serialize(checkpoint.tables);
    touchRows(checkpoint, seed.format, writers);
    return { tables, decoded: deserialize(tables), findings: touchFiles(seed.path, checkpoint, seed.format) };
  } finally {
    checkpoint.close();
  }
}

/** Writes what differs between what the file holds and what it shall hold: mostly a few bytes of a large file. */
function replaceContent(path: string, from: Buffer, to: Buffer): void {
  const shorter = Math.min(from.length, to.length);
  let start = 0;
  while (start + 4096 <= shorter && from.compare(to, start, start + 4096, start, start + 4096) === 0) start += 4096;
  let end = to.length;
  if (from.length === to.length) {
    while (end - 4096 > start && from.compare(to, end - 4096, end, end - 4096, end) === 0) end -= 4096;
  }
  const fd = openSync(path, "r+");
  try {
    if (to.length < from.length) ftruncateSync(fd, to.length);
    if (end > start) writeSync(fd, to, start, end - start, start);
    futimesSync(fd, fileTime, fileTime);
  } finally {
    closeSync(fd);
  }
}

function isLocated(error: CrimgError): boolean {
  return error.source !== undefined || error.offset !== undefined || error.path !== undefined;
}

/** Runs case `index` of `seedNumber`. Never throws. */
export async function runCase(
  seeds: readonly Seed[],
  baselines: ReadonlyMap<string, Baseline>,
  writers: readonly FormatAdapter[],
  seedNumber: number,
  index: number,
  /** Say what changed where nothing was noticed. */
  where = false,
): Promise<CaseResult> {
  const random = new Random((Math.imul(seedNumber, 0x9e3779b1) ^ Math.imul(index, 0x85ebca6b)) >>> 0);
  // Large images take long and hold no other kinds of records: one in eight of their turns is enough.
  let seed = random.pick(seeds);
  while (seed.files.some((one) => one.original.length > largeBytes) && !random.chance(12)) seed = random.pick(seeds);
  const file = random.pick(seed.files);
  const base = { seed: seed.name, file: file.path };
  const mutated = mutate(file.original, file.metadata, random);
  replaceContent(file.path, file.original, mutated);
  let checkpoint: Checkpoint | undefined;
  try {
    checkpoint = await seed.format.read?.(seed.path, {});
    if (checkpoint === undefined) return { outcome: "same", ...base };
    const baseline = baselines.get(seed.name);
    const findings = touchFiles(seed.path, checkpoint, seed.format);
    // With the rows of the unchanged image, what depends on them alone was done already.
    if (baseline === undefined || isSame(checkpoint.tables, baseline)) return { outcome: "same", ...base };
    touchRows(checkpoint, seed.format, writers);
    if (findings > baseline.findings) return { outcome: "found", ...base };
    return {
      outcome: "unnoticed",
      ...base,
      ...(where ? { detail: changedFields(baseline.decoded, deserialize(serialize(checkpoint.tables))).join(" ") } : {}),
    };
  } catch (error) {
    if (error instanceof CrimgError) {
      return isLocated(error)
        ? { outcome: "refused", ...base }
        : { outcome: "unlocated", ...base, detail: `${error.code}: ${error.message}` };
    }
    const { code } = error as NodeJS.ErrnoException;
    const stack = error instanceof Error ? (error.stack ?? error.message).split("\n").slice(0, 4).join(" | ") : String(error);
    return { outcome: "crash", ...base, detail: `${code ?? ""} ${stack}` };
  } finally {
    try {
      checkpoint?.close();
    } finally {
      replaceContent(file.path, mutated, file.original);
    }
  }
}

/** Highest resident size since the last reset, bytes; 0 where /proc does not say. */
export function peakMemory(): number {
  statusFd ??= openSync("/proc/self/status", "r");
  const length = readSync(statusFd, statusText, 0, statusText.length, 0);
  const match = /^VmHWM:\s+(\d+) kB/m.exec(statusText.toString("latin1", 0, length));
  return Number(match?.[1] ?? 0) * 1024;
}

const statusText = Buffer.alloc(4096);
let statusFd: number | undefined;
let clearFd: number | undefined;

/** Starts a new measurement (proc(5): 5 in clear_refs). */
export function resetPeakMemory(): void {
  clearFd ??= openSync("/proc/self/clear_refs", "w");
  writeSync(clearFd, "5", 0);
}
