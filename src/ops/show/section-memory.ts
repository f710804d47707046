// SPDX-License-Identifier: Apache-2.0
/** Sections about memory: maps and pages. */
import type { Checkpoint } from "../../model/checkpoint.js";
import type { ExtentRow, VmaRow } from "../../gen/tables.js";
import { tableSpecs } from "../../gen/tables.js";
import { counted, formatBytes } from "../units.js";
import type { Block } from "./document.js";
import { flagsText } from "./format-value.js";
import { type Scope, mmsOf, numbersOf, objectText, protText, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";
import { vma2011Text } from "./status-2011.js";

const hex = (value: bigint): string => value.toString(16);

const vmFlagBits = tableSpecs.find((spec) => spec.table === "vmas")?.fields.find((field) => field.name === "vmFlags")?.flags ?? {};

/** Processes that use an address space, for the heading. */
function usersOf(scope: Scope, mm: number): string {
  const users = scope.tasks.filter((task) => scope.checkpoint.tables.tasks[task]?.mm === mm);
  return users.map((task) => taskTitle(scope, task)).join(", ");
}

/** Name in the last column, as /proc/PID/maps has it where it can. */
export function vmaName(checkpoint: Checkpoint, vma: VmaRow): string {
  if (vma.isHeap !== 0) return "[heap]";
  if (vma.isStack !== 0) return "[stack]";
  if (vma.object !== null) return objectText(checkpoint.tables.objects[vma.object]);
  if (vma.kind === "vdso" || vma.kind === "vvar" || vma.kind === "vsyscall") return vma.name === "" ? `[${vma.kind}]` : vma.name;
  if (vma.kind === "aio_ring") return "[aio]";
  if (vma.name === "") return "";
  return vma.kind === "special" ? vma.name : `[anon:${vma.name}]`;
}

/**
 * Bytes stored inside each VMA, from sorted extents in one pass. Pages of a shared object count for every window
 * that shows them.
 */
export function storedInVmas(checkpoint: Checkpoint, vmas: readonly VmaRow[], mm: number): bigint[] {
  const own = checkpoint.extentsOf({ mm });
  let next = 0;
  return vmas.map((vma) => {
    let sum = 0n;
    while (next < own.length && (own[next] as ExtentRow).address + (own[next] as ExtentRow).length <= vma.start) next += 1;
    for (let place = next; place < own.length; place += 1) {
      const extent = own[place] as ExtentRow;
      if (extent.address >= vma.end) break;
      sum += overlap(vma.start, vma.end, extent.address, extent.address + extent.length);
    }
    if (vma.object !== null && (vma.kind === "anon_shared" || vma.kind === "file_shared")) {
      const end = vma.offset + (vma.end - vma.start);
      for (const extent of checkpoint.extentsOf({ object: vma.object })) {
        sum += overlap(vma.offset, end, extent.address, extent.address + extent.length);
      }
    }
    return sum;
  });
}

function overlap(start: bigint, end: bigint, otherStart: bigint, otherEnd: bigint): bigint {
  const low = start > otherStart ? start : otherStart;
  const high = end < otherEnd ? end : otherEnd;
  return high > low ? high - low : 0n;
}

function isAbsent(checkpoint: Checkpoint, { mm, start, end }: VmaRow): boolean {
  return checkpoint.absentOf(mm).some((region) => region.start < end && start < region.end);
}

/** Bytes stored of a mapping; `absent` where nothing is known of the rest. */
function storedText(bytes: bigint, absent: boolean): string {
  const size = bytes === 0n ? "" : formatBytes(bytes);
  return absent ? `${size} absent`.trim() : size || "-";
}

/** Every mapping, as /proc/PID/maps would list it, with what is stored of it. */
export function maps(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const selected: number[] = [];
  const blocks = mmsOf(scope).map((mm): Block => {
    const indices = checkpoint.vmasOf(mm);
    selected.push(...indices);
    const vmas = indices.map((index) => tables.vmas[index] as VmaRow);
    const stored = storedInVmas(checkpoint, vmas, mm);
    const old = indices.map((index) => vma2011Text(checkpoint, index));
    const is2011 = old.some((text) => text !== undefined);
    const hasFlags = vmas.some((vma) => vma.vmFlags !== 0n);
    const rows = vmas.map((vma, place) => [
      `${hex(vma.start)}-${hex(vma.end)}`,
      protText(vma),
      hex(vma.offset),
      formatBytes(vma.end - vma.start),
      storedText(stored[place] ?? 0n, isAbsent(checkpoint, vma)),
      ...(is2011 ? [old[place] ?? "-"] : []),
      vma.kind,
      vmaName(checkpoint, vma),
      ...(hasFlags ? [flagsText(vma.vmFlags, vmFlagBits)] : []),
    ]);
    const columns = [
      { title: "ADDRESS" },
      { title: "PROT" },
      { title: "OFFSET", align: "right" },
      { title: "SIZE", align: "right" },
      { title: "STORED", align: "right" },
      ...(is2011 ? [{ title: "STATUS" }] : []),
      { title: "KIND" },
      { title: "NAME" },
      ...(hasFlags ? [{ title: "VMFLAGS" }] : []),
    ] as const;
    const size = vmas.reduce((sum, vma) => sum + (vma.end - vma.start), 0n);
    const heading = `${usersOf(scope, mm)}: ${counted(vmas.length, "mapping")}, ${formatBytes(size)}`;
    return { heading, columns, rows };
  });
  const objects = numbersOf(selected.map((index) => tables.vmas[index]?.object));
  return { blocks, selected: { mms: mmsOf(scope), vmas: selected, objects } };
}

/** Every run of stored bytes, and where it lies. */
export function pages(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const mms = new Set(mmsOf(scope));
  const objects = new Set(tables.vmas.flatMap((vma) => (mms.has(vma.mm) && vma.object !== null ? [vma.object] : [])));
  for (const file of tables.files) if (file.object !== null) objects.add(file.object);
  const isAll = scope.tasks.length === tables.tasks.length;
  const indices = tables.extents.flatMap((extent, index) => {
    const isWanted = isAll || (extent.ownerKind === "mm" ? mms.has(extent.owner) : objects.has(extent.owner));
    return isWanted ? [index] : [];
  });
  const groups = new Map<string, number[]>();
  for (const index of indices) {
    const extent = tables.extents[index] as ExtentRow;
    const owner = `${extent.ownerKind} ${extent.owner}`;
    const members = groups.get(owner);
    if (members === undefined) groups.set(owner, [index]);
    else members.push(index);
  }
  const blocks = [...groups.values()].map((members): Block => {
    const first = tables.extents[members[0] ?? 0] as ExtentRow;
    const owner = first.ownerKind === "mm" ? usersOf(scope, first.owner) : objectText(tables.objects[first.owner]);
    let total = 0n;
    const rows = members.map((index) => {
      const extent = tables.extents[index] as ExtentRow;
      total += extent.length;
      return [
        `${hex(extent.address)}-${hex(extent.address + extent.length)}`,
        String((extent.length + 4095n) / 4096n),
        hex(extent.fileOffset),
        checkpoint.sources[extent.source]?.name ?? `#${extent.source}`,
      ];
    });
    const columns = [
      { title: first.ownerKind === "mm" ? "ADDRESS" : "OFFSET" },
      { title: "PAGES", align: "right" },
      { title: "AT", align: "right" },
      { title: "IN" },
    ] as const;
    return { heading: `${owner}: ${formatBytes(total)} in ${counted(members.length, "extent")}`, columns, rows };
  });
  const shown = numbersOf(indices.map((index) => (tables.extents[index]?.ownerKind === "mm" ? null : tables.extents[index]?.owner)));
  return { blocks: blocks.length > 0 ? blocks : [{ lines: ["no pages are stored"] }], selected: { extents: indices, objects: shown } };
}
