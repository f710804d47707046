// SPDX-License-Identifier: Apache-2.0
/**
 * System V objects of an IPC namespace of the tree's own ↔ ipcns-shm-N.img, ipcns-sem-N.img, ipcns-msg-N.img. The pages of a
 * segment are in pagemap-shmem-ID.img. CRIU has no place for objects of the dumper's own namespace.
 */
import { create } from "@bufbuild/protobuf";
import type { Output } from "../../../src/adapter/output.js";
import {
  objectRow,
  sysvMessageRow,
  sysvQueueRow,
  type SysvSegmentRow,
  sysvSegmentFlagsBits,
  sysvSegmentRow,
  sysvSemaphoresRow,
} from "../../../src/gen/tables.js";
import { SHM } from "../../../src/linux/sysv-ipc.js";
import type { SystemVRow } from "../../../src/model/system-v.js";
import type { ModelBuilder } from "../builder.js";
import {
  IpcMessageSchema,
  type IpcObject,
  IpcObjectSchema,
  IpcQueueSchema,
  IpcSegmentSchema,
  IpcSemaphoresSchema,
  IpcVariablesSchema,
} from "../gen/namespaces_pb.js";
import { type ImageSetIds, u32Bytes, u32Values } from "../ids/image-set-ids.js";
import type { ImageSet } from "../wire/image-set.js";
import { optionalList } from "../wire/image-lists.js";
import { ImageWriter } from "../wire/image-writer.js";
import { objectOfShmid } from "./map-object.js";

/** What a new IPC namespace has, as a resume of crimg's makes one. */
const defaults = {
  semCtls: [32_000, 1_024_000_000, 500, 32_000],
  msgCtlmax: 8192,
  msgCtlmnb: 16_384,
  msgCtlmni: 32_000,
  autoMsgmni: 0,
  shmCtlmax: 18_446_744_073_692_774_399n,
  shmCtlall: 18_446_744_073_692_774_399n,
  shmCtlmni: 4096,
  shmRmidForced: 0,
  mqQueuesMax: 256,
  mqMsgMax: 10,
  mqMsgsizeMax: 8192,
  mqMsgDefault: 10,
  mqMsgsizeDefault: 8192,
} as const;

/** Payloads are padded to so many bytes. */
const unit = 8;
const padded = (bytes: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(Math.ceil(bytes.length / unit) * unit);
  whole.set(bytes);
  return whole;
};
const pageMask = 4095n;
const largestMessage = 1 << 28;

function identityToWire({ id, key, mode, uid, gid, creatorUid, creatorGid }: SystemVRow): IpcObject {
  return create(IpcObjectSchema, { id, key, mode, uid, gid, cuid: creatorUid, cgid: creatorGid });
}

function identityFromWire(desc: IpcObject | undefined): SystemVRow {
  const { id, key, mode, uid, gid, cuid, cgid } = desc ?? create(IpcObjectSchema);
  return { id, key, mode: mode & 0o777, uid, gid, creatorUid: cuid, creatorGid: cgid };
}

/** The mode of a segment with what else the kernel keeps there. */
const segmentMode = ({ mode, flags }: SysvSegmentRow): number =>
  mode | ((flags & sysvSegmentFlagsBits.removed) === 0 ? 0 : SHM.dest) | ((flags & sysvSegmentFlagsBits.locked) === 0 ? 0 : SHM.locked);

/** Writes the images of the namespace with number `id`. */
export function writeIpc(output: Output, context: ImageSetIds, id: number): void {
  const { tables, foreign } = context;
  const settings = `ipcns-var-${id}.img`;
  if (foreign.whole(`image:${settings}`).length === 0) {
    const writer = new ImageWriter(output, settings, "ipcns-var");
    writer.add(IpcVariablesSchema, { ...defaults, semCtls: [...defaults.semCtls] });
    writer.flush();
  }
  const write = (type: string, count: number, fill: (writer: ImageWriter) => void): void => {
    if (count === 0) return;
    const writer = new ImageWriter(output, `${type}-${id}.img`, type);
    fill(writer);
    writer.flush();
  };
  write("ipcns-shm", tables.sysvSegments.length, (writer) => {
    for (const row of tables.sysvSegments) {
      const isHuge = (row.flags & sysvSegmentFlagsBits.hugetlb) !== 0;
      writer.add(IpcSegmentSchema, {
        desc: identityToWire({ ...row, mode: segmentMode(row) }),
        size: row.size,
        inPagemaps: true,
        ...(isHuge ? { hugetlbFlag: SHM.hugetlb } : {}),
      });
    }
  });
  write("ipcns-sem", tables.sysvSemaphoreSets.length, (writer) => {
    for (const row of tables.sysvSemaphoreSets) {
      const values = u32Values(row.values);
      writer.add(IpcSemaphoresSchema, { desc: identityToWire(row), nsems: values.length });
      writer.raw(padded(new Uint8Array(Uint16Array.from(values).buffer)));
    }
  });
  write("ipcns-msg", tables.sysvQueues.length, (writer) => {
    for (const [queue, row] of tables.sysvQueues.entries()) {
      const messages = tables.sysvMessages.filter((message) => message.queue === queue);
      writer.add(IpcQueueSchema, { desc: identityToWire(row), qbytes: Number(row.capacity), qnum: messages.length });
      for (const { type, data } of messages) {
        writer.add(IpcMessageSchema, { mtype: BigInt.asUintN(64, type), msize: data.length });
        writer.raw(padded(data));
      }
    }
  });
}

/** Ids of the segments of the namespace with number `id`. */
export function segmentIds(set: ImageSet, id: number): ReadonlySet<number> {
  return new Set(optionalList(set, `ipcns-shm-${id}.img`, "ipcns-shm", IpcSegmentSchema).map(({ desc }) => desc?.id ?? 0));
}

/** Adds the rows of the namespace with number `id`. Areas of segments are there. */
export function addIpc(builder: ModelBuilder, id: number): void {
  addSegments(builder, id);
  addSemaphores(builder, `ipcns-sem-${id}.img`);
  addQueues(builder, `ipcns-msg-${id}.img`);
}

function addSegments(builder: ModelBuilder, namespace: number): void {
  const { wire, tables } = builder;
  const image = `ipcns-shm-${namespace}.img`;
  for (const [index, segment] of optionalList(wire.set, image, "ipcns-shm", IpcSegmentSchema).entries()) {
    const mode = segment.desc?.mode ?? 0;
    const identity = identityFromWire(segment.desc);
    // Versions before 3.14 have the bytes behind the entry, which the list above would not have passed.
    if (!segment.inPagemaps) throw builder.error("criu.ipc", "The content of a segment is not in a map of pages.", image, `entry ${index}`);
    const object = objectOfShmid(builder, BigInt(identity.id), (segment.size + pageMask) & ~pageMask);
    const isHuge = segment.hugetlbFlag !== 0;
    if (isHuge) tables.objects[object] = { ...(tables.objects[object] ?? objectRow()), memfdFlags: segment.hugetlbFlag };
    tables.sysvSegments.push(
      sysvSegmentRow({
        object,
        ...identity,
        size: segment.size,
        flags:
          ((mode & SHM.dest) === 0 ? 0 : sysvSegmentFlagsBits.removed) |
          ((mode & SHM.locked) === 0 ? 0 : sysvSegmentFlagsBits.locked) |
          (isHuge ? sysvSegmentFlagsBits.hugetlb : 0),
      }),
    );
  }
}

function addSemaphores({ wire, tables }: ModelBuilder, image: string): void {
  if (!wire.set.has(image)) return;
  const reader = wire.set.open(image, "ipcns-sem");
  try {
    for (let entry = reader.next(IpcSemaphoresSchema); entry; entry = reader.next(IpcSemaphoresSchema)) {
      const bytes = reader.payload(Math.ceil((entry.nsems * 2) / unit) * unit, largestMessage);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const values = Array.from({ length: entry.nsems }, (_, index) => view.getUint16(index * 2, true));
      tables.sysvSemaphoreSets.push(
        sysvSemaphoresRow({
          ...identityFromWire(entry.desc),
          values: u32Bytes(...values),
          pids: new Uint8Array(entry.nsems * 4),
        }),
      );
    }
  } finally {
    reader.close();
  }
}

function addQueues({ wire, tables }: ModelBuilder, image: string): void {
  if (!wire.set.has(image)) return;
  const reader = wire.set.open(image, "ipcns-msg");
  try {
    for (let entry = reader.next(IpcQueueSchema); entry; entry = reader.next(IpcQueueSchema)) {
      const queue = tables.sysvQueues.push(sysvQueueRow({ ...identityFromWire(entry.desc), capacity: BigInt(entry.qbytes) })) - 1;
      for (let count = 0; count < entry.qnum; count++) {
        const { mtype, msize } = reader.one(IpcMessageSchema);
        const data = reader.payload(Math.ceil(msize / unit) * unit, largestMessage).slice(0, msize);
        tables.sysvMessages.push(sysvMessageRow({ queue, type: BigInt.asIntN(64, mtype), data }));
      }
    }
  } finally {
    reader.close();
  }
}
