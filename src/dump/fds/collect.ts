// SPDX-License-Identifier: Apache-2.0
/** Collects every descriptor of a frozen tree into the tables `files`, `descriptors` and those of each kind. */
import { decodeText } from "../../bytes/text.js";
import { noteRecords } from "../../elf/known-records.js";
import { descriptorRowSize } from "../../gen/ckpt-elf-v2.js";
import { type DescriptorRow, type FileKind, type MutableTables, type OpenFileRow, openFileRow } from "../../gen/tables.js";
import { type FileStat, openFlag } from "../../native/index.js";
import type { DumpContext } from "../context.js";
import { classify } from "./classify.js";
import {
  type Collecting,
  type Description,
  DescriptorRefusal,
  type DescriptorOptions,
  factsOf,
  type Holder,
  nameOf,
  refuseDescription,
  rememberingPids,
  stdioNumber,
  type Told,
} from "./context.js";
import type { FileCollector, FileFields } from "./kind.js";
import { fileDumps } from "./kinds.js";
import { classOfDescriptor, isVital } from "./left-out.js";
import { isOwnStream } from "./own-streams.js";
import { collectLocks } from "./locks.js";
import { ownerOf } from "./owner.js";
import { raiseLimit } from "./room.js";
import { DescriptorScan } from "./scan.js";

/**
 * Collects the descriptors of all live processes of `context`. Throws CrimgError `dump.fd.*` (exit status `refused`)
 * naming the first descriptor that cannot be kept; with `--ignore descriptor` those of unknown kinds become losses.
 */
export function collectDescriptors(context: DumpContext, options: DescriptorOptions = {}): void {
  raiseLimit();
  const scan = new DescriptorScan(context, options.order);
  try {
    const collecting = { context, options, descriptions: withoutIgnoredNumbers(context, scan.descriptions) };
    rememberingPids(() => collectAllowed(collecting));
  } finally {
    scan.release();
  }
}

/** Descriptors whose numbers `--ignore fd:N` names are left out; a description that nobody else holds is gone with them. */
function withoutIgnoredNumbers(context: DumpContext, descriptions: readonly Description[]): readonly Description[] {
  const { fds } = context.ignored;
  if (fds.size === 0) return descriptions;
  return descriptions.filter((description) => {
    const { holders } = description;
    const kept = holders.filter(({ fd }) => !fds.has(fd));
    if (kept.length === holders.length) return true;
    context.lose("dump.descriptor", `${nameOf(description)}: ${decodeText(description.link)}`);
    holders.splice(0, holders.length, ...kept);
    return kept.length > 0;
  });
}

/** Refusals that may only follow from another description having been set aside. */
const consequences: ReadonlySet<string> = new Set(["outside_pipe", "outside_socket", "in_flight", "epoll_target"]);

/**
 * Collects all descriptions. One that is refused is set aside and the rest is collected anew without it, so that all
 * refusals are found in one run, and so that what `--ignore` leaves out is as though it had never been there.
 */
function collectAllowed(collecting: Collecting): void {
  const { blockers, ignored, tables } = collecting.context;
  const before = snapshot(tables);
  let { descriptions } = collecting;
  const leftOut = new Set<Description>();
  for (let isBlocked = false; ; ) {
    try {
      collectEach({ ...collecting, descriptions, leftOut });
      return;
    } catch (error) {
      if (!(error instanceof DescriptorRefusal)) throw error;
      restore(tables, before);
      const { what, description } = error;
      descriptions = descriptions.filter((one) => one !== description);
      for (const one of collecting.descriptions) one.row = undefined;
      const isIgnored = ignored.classes.has(classOfDescriptor(what)) || ignored.classes.has("descriptor");
      if (isIgnored && (!isVital(what) || ignored.isForced)) {
        leftOut.add(description);
        collecting.context.lose("dump.descriptor", error.message);
        before.losses = [...tables.losses];
      } else if (!isBlocked || !consequences.has(what)) {
        isBlocked = true;
        blockers.add(error);
      }
    }
  }
}

/** The rows so far. Objects, their namespaces and extents stay: their table looks them up by what they are. */
function snapshot(tables: MutableTables): MutableTables {
  return Object.fromEntries(Object.entries(tables).map(([name, rows]) => [name, [...rows]])) as unknown as MutableTables;
}

function restore(tables: MutableTables, before: MutableTables): void {
  for (const name of Object.keys(tables) as (keyof MutableTables)[]) {
    if (name === "objects" || name === "objectNamespaces" || name === "extents") continue;
    const rows: unknown[] = tables[name];
    rows.splice(0, rows.length, ...before[name]);
  }
}

function collectEach(collecting: Collecting): void {
  collecting.context.forgetTakes();
  const collectors = new Map<FileKind, FileCollector>();
  const { descriptions, options } = collecting;
  /** By the place of a description; undefined for crimg's own streams. */
  const collectorsOf: (FileCollector | undefined)[] = [];
  const mayBeOwn = options.inheritStreams === true;
  let [told, ofTold]: [Told?, FileCollector?] = [];
  // Indices: of thousands an iterator takes longer than what is done with each.
  for (let index = 0; index < descriptions.length; index++) {
    const description = descriptions[index] as Description;
    if (mayBeOwn && isOwnStream(collecting, description)) {
      collectorsOf.push(undefined);
      continue;
    }
    if (told !== description.told || ofTold === undefined) {
      const kind = kindOf(description);
      ofTold = collectors.get(kind) ?? collectorOf(collecting, kind);
      collectors.set(kind, ofTold);
      ({ told } = description);
    }
    collectorsOf.push(ofTold);
    if (ofTold.note !== undefined) ofTold.note(description);
  }
  for (const collector of collectors.values()) collector.prepare?.();
  addFiles(collecting, collectorsOf);
  for (const collector of collectors.values()) collector.finish?.();
  addDescriptors(collecting);
  collectLocks(collecting);
}

/** Rows of `files`: those that are alike are often one. */
function addFiles(collecting: Collecting, collectors: readonly (FileCollector | undefined)[]): void {
  const { descriptions } = collecting;
  const { files } = collecting.context.tables;
  const rows = new Map<Told, OpenFileRow>();
  /** Of the last description: what is open often comes in a row. */
  let [told, known]: [Told?, OpenFileRow?] = [];
  for (let index = 0; index < descriptions.length; index++) {
    const description = descriptions[index] as Description;
    const number = stdioNumber(description);
    if (number === undefined) {
      if (told !== description.told) {
        ({ told } = description);
        known = rows.get(told);
      }
      if (known !== undefined) {
        description.row = files.push(known) - 1;
        continue;
      }
    }
    const collector = collectors[index];
    addFile(collecting, description, collector?.collect(description) ?? { kind: "inherited", detail: number ?? null });
    if (number !== undefined || hasOwner(description) || collector?.speaksForAll?.(description) !== true) continue;
    known = files.at(-1) as OpenFileRow;
    rows.set(description.told, known);
  }
}

/** Whether signals go to somebody, who has to be one of the holders. Of most the kernel says that they go to process 0. */
function hasOwner({ signals }: Description): boolean {
  return signals === undefined || (signals.owner !== undefined && signals.owner[1] > 0);
}

function collectorOf(collecting: Collecting, kind: FileKind): FileCollector {
  const dump = fileDumps[kind];
  if (!("recognises" in dump)) throw new RangeError(`no descriptor is of kind ${kind} by itself`);
  return dump.collector(collecting);
}

/** Kinds by the state of the inode, which the descriptors of a file share. */
const knownKinds = new WeakMap<FileStat, { readonly link: Buffer; readonly isPath: boolean; readonly kind: FileKind }>();

function kindOf(description: Description): FileKind {
  const { stat, link } = description;
  const isPath = (description.flags & openFlag.PATH) !== 0;
  const known = knownKinds.get(stat);
  if (known !== undefined && known.link === link && known.isPath === isPath) return known.kind;
  const found = classify(factsOf(description));
  if (!("kind" in found)) return refuseDescription(description, found.code, found.refused);
  knownKinds.set(stat, { link, isPath, kind: found.kind });
  return found.kind;
}

function addFile({ context }: Collecting, description: Description, fields: FileFields): void {
  description.row = context.tables.files.push(openFileRow({ flags: description.flags, ...ownerOf(context, description), ...fields })) - 1;
}

/** Rows of `descriptors`, ascending by task and number. */
function addDescriptors({ context, descriptions }: Collecting): void {
  const rows: DescriptorRow[] = [];
  let [last, isSorted]: [DescriptorRow | undefined, boolean] = [undefined, true];
  for (let index = 0; index < descriptions.length; index++) {
    const { holders, row: file } = descriptions[index] as Description;
    if (file === undefined) continue;
    for (let holder = 0; holder < holders.length; holder++) {
      const { process, fd, isCloexec } = holders[holder] as Holder;
      const row = { task: process.row, fd, file, flags: isCloexec ? 1 : 0 };
      if (last !== undefined && (row.task < last.task || (row.task === last.task && fd < last.fd))) isSorted = false;
      rows.push((last = row));
    }
  }
  if (!isSorted) rows.sort((a, b) => a.task - b.task || a.fd - b.fd);
  const { descriptors } = context.tables;
  for (let index = 0; index < rows.length; index++) descriptors.push(rows[index] as DescriptorRow);
  noteRecords(descriptors, () => ({ bytes: descriptorRecords(descriptors), open: new Int32Array(0) }));
}

/** Records `descriptor`. */
function descriptorRecords(rows: readonly DescriptorRow[]): Uint8Array {
  const words = new Uint32Array((rows.length * descriptorRowSize) / 4);
  for (let index = 0, at = 0; index < rows.length; index++, at += descriptorRowSize / 4) {
    const { task, fd, file, flags } = rows[index] as DescriptorRow;
    words[at] = task;
    words[at + 1] = fd;
    words[at + 2] = file;
    words[at + 3] = flags;
  }
  return new Uint8Array(words.buffer);
}
