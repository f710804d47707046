// SPDX-License-Identifier: Apache-2.0
/**
 * Seccomp: modes in the cores of threads, filters in seccomp.img. Where all threads of a process are under the same filters
 * a set has them at its leader alone, marked to be installed in all (SECCOMP_FILTER_FLAG_TSYNC).
 */
import { create, isFieldSet } from "@bufbuild/protobuf";
import type { Output } from "../../../src/adapter/output.js";
import { type SeccompFilterRow, seccompFilterRow, type SeccompStateRow, seccompStateRow, type Tables } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import type { ThreadCore } from "../gen/core_pb.js";
import { SeccompEntrySchema, type SeccompFilter, SeccompFilterSchema } from "../gen/tree_pb.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { ImageWriter } from "../wire/image-writer.js";

const [STRICT, FILTER] = [1, 2];
const TSYNC = 1;
const image = "seccomp.img";

/** Adds rows for every thread; all threads are there. */
export function addSeccomp(builder: ModelBuilder): void {
  const { tables, wire } = builder;
  const rows = new Map<number, number>();
  const rowOf = (index: number, depth = 0): number => {
    const known = rows.get(index);
    if (known !== undefined) return known;
    const filter = wire.seccomp[index];
    const isEndless = depth > wire.seccomp.length;
    if (filter === undefined || isEndless || filter.filter.length % 8 !== 0) {
      throw builder.error("criu.seccomp", `Seccomp filter ${index} is not there, or none.`, image, `seccomp_filters[${index}]`);
    }
    const previous = hasPrevious(filter) ? rowOf(filter.prev, depth + 1) : null;
    const row = tables.seccompFilters.push(seccompFilterRow({ previous, flags: filter.flags & ~TSYNC, instructions: filter.filter }));
    rows.set(index, row - 1);
    return row - 1;
  };
  const states = new Map<number, SeccompStateRow>();
  for (const [thread, { tid, task }] of tables.threads.entries()) {
    const core = wire.cores.get(tid);
    const { seccompMode = 0, seccompFilter = 0 } = core?.threadCore ?? {};
    // Before 3.12 seccomp belonged to the process.
    const mode = seccompMode || (core?.tc?.oldSeccompMode ?? 0);
    const index = seccompMode === 0 ? (core?.tc?.oldSeccompFilter ?? 0) : seccompFilter;
    if (mode === STRICT) states.set(thread, seccompStateRow({ thread, mode: "strict" }));
    if (mode !== FILTER) continue;
    const filter = rowOf(index);
    states.set(thread, seccompStateRow({ thread, mode: "filter", filter }));
    const isForAll = ((wire.seccomp[index]?.flags ?? 0) & TSYNC) !== 0 || seccompMode === 0;
    for (const [other, row] of isForAll ? tables.threads.entries() : []) {
      if (row.task === task && !states.has(other)) states.set(other, seccompStateRow({ thread: other, mode: "filter", filter }));
    }
  }
  tables.seccompStates.push(...[...states.values()].sort((a, b) => a.thread - b.thread));
}

function hasPrevious(filter: SeccompFilter): boolean {
  return isFieldSet(filter, SeccompFilterSchema.field.prev);
}

/** A filter of the set: a row, installed in one thread or in all of a process. */
interface Written {
  readonly row: number;
  readonly isForAll: boolean;
}

/** Whether all threads of the process are under the same filters, and there is more than one. */
function isForAll({ threads, seccompStates }: Tables, { thread, filter }: SeccompStateRow): boolean {
  const task = threads[thread]?.task;
  const others = threads.flatMap((row, index) => (row.task === task ? [index] : []));
  return others.length > 1 && others.every((other) => seccompStates.some((state) => state.thread === other && state.filter === filter));
}

/** The filters of a set in order, those that come before first. */
function writtenFilters(tables: Tables): Written[] {
  const written: Written[] = [];
  const add = (row: number, forAll: boolean): void => {
    if (written.some((one) => one.row === row && one.isForAll === forAll)) return;
    const previous = tables.seccompFilters[row]?.previous ?? null;
    if (previous !== null && previous < row) add(previous, forAll);
    written.push({ row, isForAll: forAll });
  };
  for (const state of tables.seccompStates) if (state.filter !== null) add(state.filter, isForAll(tables, state));
  return written;
}

/** Puts the seccomp of a thread into its core. */
export function seccompToWire(tables: Tables, thread: number, core: ThreadCore, isLeader: boolean): void {
  const state = tables.seccompStates.find((row) => row.thread === thread);
  if (state === undefined) return;
  const forAll = state.filter !== null && isForAll(tables, state);
  if (forAll && !isLeader) return;
  core.seccompMode = state.mode === "strict" ? STRICT : FILTER;
  if (state.filter === null) return;
  core.seccompFilter = writtenFilters(tables).findIndex((one) => one.row === state.filter && one.isForAll === forAll);
}

/** Writes seccomp.img, which every set has, unless the set that this came from is carried along with its own. */
export function writeSeccomp(output: Output, context: ImageSetIds): void {
  const { tables, foreign } = context;
  if (foreign.whole(`image:${image}`).length > 0) return;
  const written = writtenFilters(tables);
  const filters = written.map(({ row, isForAll: forAll }) => {
    const { previous, flags, instructions } = tables.seccompFilters[row] as SeccompFilterRow;
    const filter = create(SeccompFilterSchema, { filter: instructions, flags: flags | (forAll ? TSYNC : 0) });
    if (previous !== null) filter.prev = written.findIndex((one) => one.row === previous && one.isForAll === forAll);
    return filter;
  });
  const writer = new ImageWriter(output, image, "seccomp");
  writer.add(SeccompEntrySchema, { seccompFilters: filters });
  writer.flush();
}
