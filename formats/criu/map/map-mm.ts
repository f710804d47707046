// SPDX-License-Identifier: Apache-2.0
/** mm-PID.img ↔ rows of `mms` and `vmas`. */
import { create, toBinary } from "@bufbuild/protobuf";
import { mmRow, objectRow, type VmaKind, type VmaRow, vmaRow, vmaVmFlagsBits } from "../../../src/gen/tables.js";
import { MFD_HUGE_SHIFT } from "../../../src/linux/huge-pages.js";
import type { ModelBuilder } from "../builder.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { fileType } from "./file-types.js";
import type { TaskCore } from "../gen/core_pb.js";
import { AioRingEntrySchema, type MmEntry, MmEntrySchema, type VmaEntry, VmaEntrySchema } from "../gen/memory_pb.js";
import { objectOfMemfd, objectOfReg, objectOfShmid } from "./map-object.js";
import { mmStatesFromWire, mmStatesToWire } from "./states.js";
import { areaStatus, madviceToWire, mapFlag, mapFlagsToWire, vmFlagsFromWire } from "./vma-status.js";

const readWrite = 2;
const pageMask = 0xfffn;

/** Adds an address space and its areas; returns its row. */
export function mmFromWire(builder: ModelBuilder, pid: number, entry: MmEntry, core: TaskCore | undefined): number {
  const { tables } = builder;
  const image = `mm-${pid}.img`;
  const mm = tables.mms.length;
  const auxv = Buffer.alloc(entry.mmSavedAuxv.length * 8);
  entry.mmSavedAuxv.forEach((word, index) => auxv.writeBigUInt64LE(word, index * 8));
  tables.mms.push(
    mmRow({
      // CRIU numbers files from 1; 0 is written where the source did not know the executable.
      exe: entry.exeFileId === 0 ? null : objectOfFileId(builder, entry.exeFileId, image, "exe_file_id"),
      startCode: entry.mmStartCode,
      endCode: entry.mmEndCode,
      startData: entry.mmStartData,
      endData: entry.mmEndData,
      startBrk: entry.mmStartBrk,
      brk: entry.mmBrk,
      startStack: entry.mmStartStack,
      argStart: entry.mmArgStart,
      argEnd: entry.mmArgEnd,
      envStart: entry.mmEnvStart,
      envEnd: entry.mmEnvEnd,
      auxv,
      vdsoBase: entry.vmas.find((vma) => (vma.status & areaStatus.vdso) !== 0)?.start ?? 0n,
      ...mmStatesFromWire({ mm: entry, ...(core ? { core } : {}) }),
    }),
  );
  let last = 0n;
  entry.vmas.forEach((vma, index) => {
    const path = `entry 0 vmas[${index}]`;
    if (vma.start >= vma.end || ((vma.start | vma.end) & pageMask) !== 0n) {
      throw builder.error("criu.vma", `The area ${hex(vma.start)}-${hex(vma.end)} is not a range of whole pages.`, image, path);
    }
    if ((vma.status & areaStatus.guard) !== 0) {
      builder.foreign.add({ table: "mms", row: mm }, "guard", toBinary(VmaEntrySchema, vma));
      return;
    }
    if (vma.start < last) {
      throw builder.error(
        "criu.vma",
        `The area ${hex(vma.start)}-${hex(vma.end)} begins before the end of the one before it.`,
        image,
        path,
      );
    }
    last = vma.end;
    addVma(builder, mm, entry, vma, image, path);
  });
  builder.deltas.push((context, foreign) => {
    const withoutVmas = { ...entry, vmas: [] };
    foreign.addDelta({ table: "mms", row: mm }, "mm", MmEntrySchema, withoutVmas, mmToWire(context, mm));
  });
  return mm;
}

function addVma(builder: ModelBuilder, mm: number, entry: MmEntry, vma: VmaEntry, image: string, path: string): void {
  const { tables } = builder;
  const kind = builder.wire.segments.has(Number(vma.shmid)) && (vma.status & areaStatus.sysvIpc) !== 0 ? "anon_shared" : kindOf(vma);
  const object = objectOfVma(builder, vma, kind, image, path);
  const isFile = kind === "file_private" || kind === "file_shared";
  const mayWrite = kind !== "file_shared" || (vma.fdflags & 3) === readWrite || (vma.prot & 2) !== 0;
  const row = tables.vmas.length;
  const isShared = object !== null && tables.objects[object]?.kind === "shared_memory";
  tables.vmas.push(
    vmaRow({
      mm,
      kind: isShared && kind === "file_shared" ? "anon_shared" : kind,
      start: vma.start,
      end: vma.end,
      offset: isFile || kind === "anon_shared" ? vma.pgoff : 0n,
      prot: vma.prot & 7,
      object,
      vmFlags: kind === "vsyscall" ? 0n : vmFlagsFromWire(vma.prot, vma.flags, vma.madv, mayWrite),
      hugeShift: (vma.flags & mapFlag.hugeTlb) !== 0 ? (vma.flags >>> MFD_HUGE_SHIFT) & 63 || 21 : 0,
      isHeap: (vma.status & areaStatus.heap) !== 0 ? 1 : 0,
      isStack: kind === "anon_private" && vma.start <= entry.mmStartStack && entry.mmStartStack < vma.end ? 1 : 0,
    }),
  );
  builder.deltas.push((context, foreign) => {
    foreign.addDelta({ table: "vmas", row }, "vma", VmaEntrySchema, vma, vmaToWire(context, row));
  });
}

function kindOf(vma: VmaEntry): VmaKind {
  const { status } = vma;
  if ((status & areaStatus.vsyscall) !== 0) return "vsyscall";
  if ((status & areaStatus.vdso) !== 0) return "vdso";
  if ((status & areaStatus.vvar) !== 0) return "vvar";
  if ((status & (areaStatus.socket | areaStatus.uprobes | areaStatus.sysvIpc)) !== 0) return "special";
  if ((status & areaStatus.aioRing) !== 0) return "aio_ring";
  if ((status & areaStatus.anonShared) !== 0) return "anon_shared";
  if ((status & areaStatus.fileShared) !== 0) return "file_shared";
  return (status & areaStatus.filePrivate) !== 0 ? "file_private" : "anon_private";
}

function objectOfVma(builder: ModelBuilder, vma: VmaEntry, kind: VmaKind, image: string, path: string): number | null {
  if (kind === "anon_shared") return objectOfShmid(builder, vma.shmid, vma.pgoff + (vma.end - vma.start));
  if (kind !== "file_private" && kind !== "file_shared") return null;
  return objectOfFileId(builder, Number(BigInt.asUintN(32, vma.shmid)), image, `${path} shmid`);
}

/** The object of a regular or memory file entry that something other than a descriptor uses. */
export function objectOfFileId(builder: ModelBuilder, id: number, image: string, path: string): number {
  const entry = builder.wire.files.get(id);
  if (!entry) throw builder.error("criu.file-id", `File ${id} is not in files.img.`, image, path);
  let object: number | undefined;
  if (entry.type === fileType.reg && entry.reg) object = objectOfReg(builder, entry.reg);
  else if (entry.type === fileType.memfd && entry.memfd) object = objectOfMemfd(builder, entry.memfd.inodeId);
  if (object === undefined) {
    throw builder.error("criu.file-id", `File ${id} is neither a regular file nor a memory file that memfd.img knows.`, image, path);
  }
  const ids = builder.objectFileIds.get(object);
  if (!ids) builder.objectFileIds.set(object, [id]);
  else if (!ids.includes(id)) ids.push(id);
  return object;
}

/**
 * Words of an auxiliary vector that the restorer takes (AT_VECTOR_SIZE when it was written); more is "corrupted".
 * Kernels since 6.3 have more, of which its own dumps keep the first 22 pairs.
 */
export const maxAuxvWords = 44;

/** mm without its areas. */
export function mmToWire(context: ImageSetIds, row: number): MmEntry {
  const mm = context.tables.mms[row] ?? mmRow();
  const view = new DataView(mm.auxv.buffer, mm.auxv.byteOffset, mm.auxv.byteLength);
  const entry = create(MmEntrySchema, {
    mmStartCode: mm.startCode,
    mmEndCode: mm.endCode,
    mmStartData: mm.startData,
    mmEndData: mm.endData,
    mmStartStack: mm.startStack,
    mmStartBrk: mm.startBrk,
    mmBrk: mm.brk,
    mmArgStart: mm.argStart,
    mmArgEnd: mm.argEnd,
    mmEnvStart: mm.envStart,
    mmEnvEnd: mm.envEnd,
    exeFileId: context.objectFileId(mm.exe),
    mmSavedAuxv: Array.from({ length: Math.min(maxAuxvWords, Math.floor(mm.auxv.length / 8)) }, (_, index) =>
      view.getBigUint64(index * 8, true),
    ),
  });
  for (const vma of context.tables.vmas) {
    if (vma.mm !== row || vma.kind !== "aio_ring") continue;
    const length = Number(vma.end - vma.start);
    // Half of the events, without the two that the kernel adds.
    entry.aios.push(create(AioRingEntrySchema, { id: vma.start, nrReq: length / 64 - 2, ringLen: length }));
  }
  mmStatesToWire(mm, { mm: entry });
  return entry;
}

/** An area as CRIU describes it. */
export function vmaToWire(context: ImageSetIds, row: number): VmaEntry {
  const vma = context.tables.vmas[row] ?? vmaRow();
  const object = vma.object === null ? undefined : (context.tables.objects[vma.object] ?? objectRow());
  const entry = create(VmaEntrySchema, {
    start: vma.start,
    end: vma.end,
    pgoff: vma.kind === "vdso" || vma.kind === "vvar" ? 0n : vma.offset,
    shmid: 0n,
    prot: vma.prot,
    flags: (mapFlagsToWire(vma.vmFlags) | (vma.hugeShift << MFD_HUGE_SHIFT)) >>> 0,
    status: areaStatus.regular,
    fd: -1n,
  });
  const madv = madviceToWire(vma.vmFlags);
  if (madv !== 0n) entry.madv = madv;
  const isAnonymousShared = vma.object !== null && object?.kind === "shared_memory" && !context.isMemoryFile(vma.object);
  if (isAnonymousShared && vma.object !== null) {
    entry.flags |= mapFlag.shared | mapFlag.anonymous;
    entry.status |= areaStatus.anonShared | (context.isSegment(vma.object) ? areaStatus.sysvIpc : 0);
    entry.shmid = BigInt(context.sharedMemory(vma.object).shmid);
  } else if (vma.object !== null) {
    fileArea(context, vma, vma.object, entry);
  } else {
    anonymousArea(vma, entry);
  }
  return entry;
}

function fileArea(context: ImageSetIds, vma: VmaRow, object: number, entry: VmaEntry): void {
  const isShared = vma.kind === "file_shared" || vma.kind === "anon_shared";
  entry.flags |= isShared ? mapFlag.shared : mapFlag.private;
  entry.status |= isShared ? areaStatus.fileShared : areaStatus.filePrivate;
  entry.shmid = BigInt(context.objectFileId(object));
  if (context.isMemoryFile(object)) entry.status |= areaStatus.memfd;
  // VmFlags mw: the file was open for writing, so it has to be again.
  const isWritable = isShared && ((vma.prot & 2) !== 0 || (vma.vmFlags & vmaVmFlagsBits.mw) !== 0n);
  entry.fdflags = isWritable ? readWrite : 0;
}

function anonymousArea(vma: VmaRow, entry: VmaEntry): void {
  entry.flags |= mapFlag.private | mapFlag.anonymous;
  entry.status |= areaStatus.anonPrivate;
  if (vma.kind === "vdso") entry.status |= areaStatus.vdso;
  else if (vma.kind === "vvar") entry.status |= areaStatus.vvar;
  else if (vma.kind === "vsyscall") entry.status = areaStatus.vsyscall | areaStatus.anonPrivate;
  else if (vma.kind === "aio_ring") {
    entry.status = areaStatus.aioRing;
    entry.flags = (entry.flags & ~(mapFlag.private | mapFlag.anonymous)) | mapFlag.shared;
  }
  if (vma.isHeap !== 0) entry.status |= areaStatus.heap;
}

/** All areas of an address space as CRIU lists them: [vvar] and [vvar_vclock] are one there. */
export function vmasToWire(context: ImageSetIds, rows: readonly number[]): VmaEntry[] {
  const entries: VmaEntry[] = [];
  for (const row of rows) {
    const entry = context.foreign.apply({ table: "vmas", row }, "vma", VmaEntrySchema, vmaToWire(context, row));
    const last = entries.at(-1);
    if (last && last.end === entry.start && (last.status & entry.status & areaStatus.vvar) !== 0) last.end = entry.end;
    else entries.push(entry);
  }
  return entries;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
