// SPDX-License-Identifier: Apache-2.0
/** Single files of a CRIU set. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { CoreEntrySchema, SigActionSchema } from "../../../formats/criu/gen/core_pb.js";
import { AnyFileSchema, FdinfoEntrySchema, FileEntrySchema, TtyInfoSchema } from "../../../formats/criu/gen/files_pb.js";
import { MemfdInodeSchema, MmEntrySchema, PagemapEntrySchema, PagemapHeadSchema } from "../../../formats/criu/gen/memory_pb.js";
import {
  GhostChunkSchema,
  GhostFileSchema,
  PipeDataSchema,
  RemapFilePathSchema,
  SocketPacketSchema,
} from "../../../formats/criu/gen/payload_pb.js";
import {
  FsEntrySchema,
  InventorySchema,
  KernelIdsSchema,
  SeccompEntrySchema,
  TimensEntrySchema,
  TreeEntrySchema,
} from "../../../formats/criu/gen/tree_pb.js";
import { ImageReader } from "../../../formats/criu/wire/image-reader.js";
import { commonMagic, fileImages, magicOf } from "../../../formats/criu/wire/image-types.js";

/** Bytes of payload that one message may announce: more is no pipe or packet. */
const maxPayload = 64 << 20;
const pageBytes = 4096n;

/** Kinds whose entries are all of one message type. */
const lists: Readonly<Record<string, DescMessage>> = {
  pstree: TreeEntrySchema,
  files: FileEntrySchema,
  fdinfo: FdinfoEntrySchema,
  memfd: MemfdInodeSchema,
  "remap-fpath": RemapFilePathSchema,
  "tty-info": TtyInfoSchema,
  sigacts: SigActionSchema,
  ...Object.fromEntries(
    fileImages.map(({ id, member }) => [id, FileEntrySchema.fields.find(({ number }) => number === member)?.message ?? AnyFileSchema]),
  ),
};
/** Kinds with exactly one message. */
const singles: Readonly<Record<string, DescMessage>> = {
  inventory: InventorySchema,
  core: CoreEntrySchema,
  ids: KernelIdsSchema,
  mm: MmEntrySchema,
  fs: FsEntrySchema,
  timens: TimensEntrySchema,
  seccomp: SeccompEntrySchema,
};
const others = ["pagemap", "ghost-file", "pipes-data", "fifo-data", "sk-queues"] as const;
const kinds = [...Object.keys(lists), ...Object.keys(singles), ...others];

/** The kind of an image that begins with these two words; `pagemap` is also the kind of pagemap-shmem. */
export function criuKind(first: number, second: number | undefined): string | undefined {
  if (first === magicOf("inventory")) return "inventory";
  return first === commonMagic ? kinds.find((kind) => magicOf(kind) === second) : undefined;
}

function checkPagemap(reader: ImageReader): void {
  reader.one(PagemapHeadSchema);
  let last = 0n;
  for (let offset = reader.position; ; offset = reader.position) {
    const entry = reader.next(PagemapEntrySchema);
    if (entry === undefined) return;
    const length = (entry.nrPages !== 0n ? entry.nrPages : BigInt(entry.compatNrPages)) * pageBytes;
    const at = `0x${entry.vaddr.toString(16)}`;
    if (entry.vaddr % pageBytes !== 0n) throw reader.error("criu.pagemap", `The address ${at} is not that of a page.`, offset, "vaddr");
    if (entry.vaddr < last) throw reader.error("criu.pagemap", `The pages at ${at} come after pages of higher addresses.`, offset, "vaddr");
    if (length === 0n) throw reader.error("criu.pagemap", `The entry at ${at} has no pages.`, offset, "nr_pages");
    last = entry.vaddr + length;
  }
}

function checkPayloads<Schema extends DescMessage>(
  reader: ImageReader,
  schema: Schema,
  lengthOf: (entry: MessageShape<Schema>) => number,
): void {
  for (let entry = reader.next(schema); entry !== undefined; entry = reader.next(schema)) reader.payload(lengthOf(entry), maxPayload);
}

function checkGhost(reader: ImageReader): void {
  const ghost = reader.one(GhostFileSchema);
  if (!ghost.chunks) return; // the content follows raw, to the end of the file
  for (let chunk = reader.next(GhostChunkSchema); chunk !== undefined; chunk = reader.next(GhostChunkSchema)) reader.skip(chunk.len);
}

/** Reads a file of this kind to its end. Throws located CrimgErrors. */
export function checkCriuFile(path: string, kind: string): void {
  const reader = new ImageReader(path, path);
  try {
    reader.readMagic(kind);
    const list = lists[kind];
    const single = singles[kind];
    if (list !== undefined) while (reader.next(list) !== undefined);
    else if (single !== undefined) {
      reader.one(single);
      if (reader.position !== reader.size)
        throw reader.error("criu.trailing", `${reader.size - reader.position} bytes follow the one entry.`, reader.position);
    } else if (kind === "pagemap") checkPagemap(reader);
    else if (kind === "ghost-file") checkGhost(reader);
    else if (kind === "sk-queues") checkPayloads(reader, SocketPacketSchema, (entry) => entry.length);
    else checkPayloads(reader, PipeDataSchema, (entry) => entry.bytes);
  } finally {
    reader.close();
  }
}
