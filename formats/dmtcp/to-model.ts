// SPDX-License-Identifier: Apache-2.0
/** Image → rows. DMTCP keeps thread contexts in its own library's memory: there are no registers in the image. */
import { decodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { ImageHeader } from "../../src/gen/dmtcp.js";
import {
  checkpointRow,
  emptyTables,
  extentRow,
  foreignRow,
  mmRow,
  objectRow,
  tableSpecs,
  taskRow,
  threadRow,
  vmaRow,
  type MutableTables,
} from "../../src/gen/tables.js";
import { readAuxv } from "../../src/model/auxv.js";
import { deriveStack, findAuxv, type ReadMemory } from "../../src/model/initial-stack.js";
import type { Area, Image } from "./image.js";

const mapShared = 1n;

/**
 * @param headerBytes the first 4,096 bytes, kept as they are
 * @param read bytes of the image by file offset
 */
export function toTables(
  image: Image,
  headerBytes: Uint8Array,
  read: (offset: bigint, length: number) => Uint8Array,
  source: string,
): MutableTables {
  const tables = emptyTables();
  const objects = new Map<string, number>();
  for (const area of image.areas) addArea(tables, area, objects, source);
  addKernelMappings(tables, image.header);
  tables.vmas.sort((a, b) => (a.start < b.start ? -1 : 1));
  assertDisjoint(tables, source);
  const { header } = image;
  const path = text(header.programPath);
  const exe = tables.objects.findIndex((row) => row.path === path);
  const stack = tables.vmas.find(({ isStack }) => isStack === 1);
  const heap = tables.vmas.find(({ isHeap }) => isHeap === 1);
  const memory = memoryReader(tables, read);
  const auxv = stack && findAuxv(memory, stack.start, stack.end, header.vdsoStart);
  const facts = stack && auxv && deriveStack(memory, stack.start, stack.end, auxv, readAuxv(auxv));
  tables.mms.push(
    mmRow({
      exe: exe < 0 ? null : exe,
      dumpable: 1,
      startBrk: heap?.start ?? header.savedBrk,
      brk: header.savedBrk,
      startStack: stack ? stack.end : header.endOfStack,
      vdsoBase: header.vdsoStart,
      ...(auxv && { auxv }),
      ...facts,
    }),
  );
  tables.tasks.push(
    taskRow({
      pid: header.pid,
      ppid: header.ppid,
      pgid: header.pgid,
      sid: header.sid,
      state: "running",
      exitSignal: 17,
      mm: 0,
      umask: 0o022,
      foregroundPgid: header.foregroundPgid,
      parent: null,
      cwd: null,
      root: null,
    }),
  );
  tables.threads.push(
    threadRow({ task: 0, tid: header.pid, comm: text(header.programName).slice(0, 15), altstackFlags: 2, schedPolicy: "other" }),
  );
  tables.checkpoint.push(checkpointRow({ pageSize: 4096, rootTask: 0, machine: "x86_64", sourceFormat: "dmtcp" }));
  tables.foreign.push(
    foreignRow({
      format: "dmtcp",
      table: tableSpecs.find(({ table }) => table === "checkpoint")?.kind ?? 1,
      row: 0,
      key: "header",
      value: headerBytes,
    }),
  );
  return tables;
}

/** Memory that lies in one extent. */
function memoryReader({ extents }: MutableTables, read: (offset: bigint, length: number) => Uint8Array): ReadMemory {
  return (address, length) => {
    const extent = extents.find((row) => row.address <= address && address + BigInt(length) <= row.address + row.length);
    return extent && read(extent.fileOffset + (address - extent.address), length);
  };
}

function addArea(tables: MutableTables, area: Area, objects: Map<string, number>, source: string): void {
  const { addr: start, endAddr: end, fileOffset: offset, prot, flags } = area.header;
  const isBracketed = area.name.startsWith("[");
  if (!area.isChild) {
    const isFile = area.name !== "" && !isBracketed;
    const isShared = (flags & mapShared) !== 0n;
    // Shared anonymous memory was saved as private: that it was shared is lost in the image.
    tables.vmas.push(
      vmaRow({
        kind: isFile ? (isShared ? "file_shared" : "file_private") : "anon_private",
        start,
        end,
        offset: isFile ? offset : 0n,
        prot: Number(prot & 7n),
        object: isFile ? objectOf(tables, area, objects) : null,
        isHeap: Number(area.name === "[heap]"),
        isStack: Number(area.name === "[stack]"),
      }),
    );
  } else {
    const parent = tables.vmas.at(-1);
    if (!parent || start < parent.start || end > parent.end) {
      throw new CrimgError("dmtcp.child", `the area at 0x${start.toString(16)} is a child but lies in no parent`, {
        source,
        format: "dmtcp",
      });
    }
  }
  if (area.data === undefined) return;
  tables.extents.push(extentRow({ ownerKind: "mm", owner: 0, address: start, length: end - start, fileOffset: area.data }));
}

function objectOf(tables: MutableTables, { name, header }: Area, objects: Map<string, number>): number {
  const known = objects.get(name);
  if (known !== undefined) return known;
  const isDeleted = name.endsWith(" (deleted)");
  const row = tables.objects.push(
    objectRow({
      kind: isDeleted ? "ghost" : "file",
      path: isDeleted ? name.slice(0, -" (deleted)".length) : name,
      mode: 0o100644,
      devMajor: Number(header.devMajor & 0xffff_ffffn),
      devMinor: Number(header.devMinor & 0xffff_ffffn),
      ino: header.ino,
    }),
  );
  objects.set(name, row - 1);
  return row - 1;
}

function addKernelMappings(tables: MutableTables, header: ImageHeader): void {
  const add = (kind: "vdso" | "vvar", name: string, start: bigint, end: bigint, prot: number) => {
    if (end > start && !tables.vmas.some((vma) => vma.start < end && start < vma.end))
      tables.vmas.push(vmaRow({ kind, name, start, end, prot }));
  };
  add("vvar", "[vvar]", header.vvarStart, header.vvarEnd, 1);
  add("vvar", "[vvar_vclock]", header.vvarVclockStart, header.vvarVclockEnd, 1);
  add("vdso", "[vdso]", header.vdsoStart, header.vdsoEnd, 5);
}

function assertDisjoint({ vmas, extents }: MutableTables, source: string): void {
  extents.sort((a, b) => (a.address < b.address ? -1 : 1));
  const overlap =
    vmas.find((row, index) => row.start < (vmas[index - 1]?.end ?? 0n))?.start ??
    extents.find((row, index) => row.address < (extents[index - 1]?.address ?? 0n) + (extents[index - 1]?.length ?? 0n))?.address;
  if (overlap !== undefined) {
    throw new CrimgError("dmtcp.overlap", `two areas hold the memory at 0x${overlap.toString(16)}`, { source, format: "dmtcp" });
  }
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeText(end < 0 ? bytes : bytes.subarray(0, end));
}
