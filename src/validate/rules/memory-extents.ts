// SPDX-License-Identifier: Apache-2.0
/** Rules about stored pages: where they belong, and where their bytes are. */
import { CrimgError } from "../../errors/crimg-error.js";
import { firstEndingAfter } from "../../model/ascending.js";
import { rowsWithOwnBytes } from "../../model/shared-pages.js";
import type { ExtentRow, VmaRow } from "../../gen/tables.js";
import { type ModelContext, type ModelRule, hex, modelRule, pageSize } from "../model-context.js";

/** Extents of each owner with their row numbers, in table order. */
function byOwner({ tables }: ModelContext): Map<string, (readonly [number, ExtentRow])[]> {
  const groups = new Map<string, (readonly [number, ExtentRow])[]>();
  for (const [row, extent] of tables.extents.entries()) {
    const key = `${extent.ownerKind} ${extent.owner}`;
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [[row, extent]]);
    else members.push([row, extent]);
  }
  return groups;
}

function range(extent: ExtentRow): string {
  return `${extent.address.toString(16)}-${(extent.address + extent.length).toString(16)}`;
}

/** First address of [start, end) that no VMA covers, or undefined. `vmas` ascend. */
function firstGap(vmas: readonly VmaRow[], start: bigint, end: bigint): bigint | undefined {
  let at = start;
  for (let place = firstEndingAfter(vmas, start); at < end; place += 1) {
    const vma = vmas[place];
    if (vma === undefined || vma.start > at) return at;
    at = vma.end;
  }
  return undefined;
}

/** Whether the byte before `end` is there. One byte is read, never a page's worth. */
function reaches({ checkpoint }: ModelContext, extent: ExtentRow): boolean {
  try {
    checkpoint.sources[extent.source]?.read(extent.fileOffset + extent.length - 1n, new Uint8Array(1));
    return true;
  } catch (error) {
    // That a parent is not there is told by a rule of its own.
    return error instanceof CrimgError && error.code.startsWith("parent.");
  }
}

/** Why the file of a parent cannot be read. */
function parentProblem(
  { checkpoint }: ModelContext,
  row: number,
): { readonly message: string; readonly hint?: string | undefined } | undefined {
  const source = checkpoint.sources[row + 1];
  if (source === undefined) return { message: `nobody has opened parents[${row}]` };
  try {
    source.read(0n, new Uint8Array(1));
    return undefined;
  } catch (error) {
    return error instanceof CrimgError ? { message: error.message, hint: error.hint } : undefined;
  }
}

export const extentRules: readonly ModelRule[] = [
  modelRule(
    { code: "pages.empty", facet: "memory", summary: "An extent of pages has a length.", spec: "SPEC 5.12" },
    function* ({ tables }) {
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.length === 0n)
          yield { message: `extent at ${hex(extent.address)} is empty`, at: { table: "extents", row, field: "length" } };
      }
    },
  ),
  modelRule(
    {
      code: "pages.alignment",
      facet: "memory",
      summary: "Extents of an address space begin at a page boundary and hold whole pages.",
      spec: "SPEC 5.12",
    },
    function* ({ tables }) {
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.address % pageSize !== 0n) {
          yield {
            message: `extent ${range(extent)} does not begin at a page boundary`,
            at: { table: "extents", row, field: "address" },
            expected: "a multiple of 4096",
            actual: hex(extent.address),
          };
        }
        if (extent.ownerKind === "mm" && extent.length % pageSize !== 0n) {
          yield {
            message: `extent ${range(extent)} does not hold whole pages`,
            at: { table: "extents", row, field: "length" },
            expected: "a multiple of 4096",
            actual: hex(extent.length),
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "pages.file-alignment",
      facet: "memory",
      summary: "In an executable image, pages lie at page boundaries of the file.",
      spec: "SPEC 7",
    },
    function* ({ tables, format }) {
      if (format !== "ckpt-elf") return;
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.fileOffset % pageSize === 0n) continue;
        yield {
          message: `the pages ${range(extent)} lie at an odd place of the file`,
          at: { table: "extents", row, field: "file_offset" },
          expected: "a multiple of 4096",
          actual: hex(extent.fileOffset),
        };
      }
    },
  ),
  modelRule(
    {
      code: "pages.twice",
      facet: "memory",
      summary: "The extents of one owner are together, ascend, and store every page once.",
      spec: "SPEC 5.12",
    },
    function* (context) {
      for (const members of byOwner(context).values()) {
        let end = 0n;
        let last = -1;
        for (const [row, extent] of members) {
          if (extent.address < end) {
            yield {
              message: `pages ${range(extent)} are stored already, or out of order`,
              at: { table: "extents", row, field: "address" },
              expected: `from ${hex(end)} on`,
              actual: hex(extent.address),
            };
          } else if (last >= 0 && row !== last + 1) {
            yield {
              message: `extent ${range(extent)} is separated from the others of its owner`,
              at: { table: "extents", row },
              expected: `row ${last + 1}`,
              actual: `row ${row}`,
            };
          }
          if (extent.address + extent.length > end) end = extent.address + extent.length;
          last = row;
        }
      }
    },
  ),
  modelRule(
    {
      code: "pages.file-twice",
      facet: "memory",
      summary:
        "No byte of the file is the content of two extents, unless a parent and its child have it at the same address, " +
        "or an extent of at most 64 KiB names a part of an earlier one.",
      spec: "SPEC 7",
    },
    function* ({ tables, format }) {
      if (format !== "ckpt-elf") return;
      const own = rowsWithOwnBytes(tables).map((row) => [row, tables.extents[row] as ExtentRow] as const);
      // What parents have is no byte of this file.
      const sorted = own
        .filter(([, { source }]) => source === 0)
        .sort(([, a], [, b]) => (a.fileOffset < b.fileOffset ? -1 : a.fileOffset > b.fileOffset ? 1 : 0));
      let before: ExtentRow | undefined;
      for (const [row, extent] of sorted) {
        if (before !== undefined && extent.source === before.source && extent.fileOffset < before.fileOffset + before.length) {
          yield {
            message: `extents ${range(before)} and ${range(extent)} share bytes of the file`,
            at: { table: "extents", row, field: "file_offset" },
          };
        }
        before = extent;
      }
    },
  ),
  modelRule(
    { code: "pages.outside-mapping", facet: "memory", summary: "Pages of an address space lie in its mappings.", spec: "SPEC 5.12" },
    function* (context) {
      const { checkpoint, tables } = context;
      const sorted = new Map<number, VmaRow[]>();
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.ownerKind !== "mm" || extent.owner >= tables.mms.length) continue;
        let vmas = sorted.get(extent.owner);
        if (vmas === undefined) {
          vmas = checkpoint
            .vmasOf(extent.owner)
            .map((index) => tables.vmas[index] as VmaRow)
            .sort((a, b) => (a.start < b.start ? -1 : 1));
          sorted.set(extent.owner, vmas);
        }
        const gap = firstGap(vmas, extent.address, extent.address + extent.length);
        if (gap !== undefined)
          yield {
            message: `pages ${range(extent)} lie outside every mapping at ${hex(gap)}`,
            at: { table: "extents", row, field: "address" },
          };
      }
    },
  ),
  modelRule(
    { code: "pages.outside-object", facet: "shared-memory", summary: "Stored bytes of an object lie within its size.", spec: "SPEC 5.12" },
    function* ({ tables }) {
      for (const [row, extent] of tables.extents.entries()) {
        const object = extent.ownerKind === "object" ? tables.objects[extent.owner] : undefined;
        if (object === undefined || object.size === 0n) continue;
        const end = (object.size + pageSize - 1n) & ~(pageSize - 1n);
        if (extent.address + extent.length <= end) continue;
        yield {
          message: `bytes ${range(extent)} lie beyond the object's end`,
          at: { table: "extents", row, field: "length" },
          expected: `up to ${hex(end)}`,
          actual: hex(extent.address + extent.length),
        };
      }
    },
  ),
  modelRule(
    { code: "pages.source", facet: "memory", summary: "Every extent names a file that is there.", spec: "SPEC 5.12" },
    function* ({ checkpoint, tables }) {
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.source < checkpoint.sources.length) continue;
        yield {
          message: `extent ${range(extent)} names source ${extent.source}`,
          at: { table: "extents", row, field: "source" },
          expected: `below ${checkpoint.sources.length}`,
          actual: String(extent.source),
        };
      }
    },
  ),
  modelRule(
    { code: "pages.parent", facet: "memory", summary: "The images that have pages of this one are there.", spec: "SPEC 7.2" },
    function* (context) {
      for (const row of context.tables.parents.keys()) {
        const problem = parentProblem(context, row);
        if (problem !== undefined) yield { ...problem, at: { table: "parents", row, field: "path" } };
      }
    },
  ),
  modelRule(
    { code: "pages.outside-file", facet: "memory", summary: "The bytes of every extent are in the file.", spec: "SPEC 7" },
    function* (context) {
      const { tables, checkpoint } = context;
      // The file is contiguous, so for each source only extents behind the farthest good one need asking.
      const goodUpTo = new Map<number, bigint>();
      for (const [row, extent] of tables.extents.entries()) {
        if (extent.length === 0n || checkpoint.sources[extent.source] === undefined) continue;
        const end = extent.fileOffset + extent.length;
        if (end <= (goodUpTo.get(extent.source) ?? 0n)) continue;
        if (reaches(context, extent)) goodUpTo.set(extent.source, end);
        else
          yield {
            message: `the file ends before the pages ${range(extent)} do`,
            at: { table: "extents", row, field: "file_offset" },
            expected: `at least ${end} bytes`,
            hint: "the image is cut off: copy or dump it again",
          };
      }
    },
  ),
];
