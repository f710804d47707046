// SPDX-License-Identifier: Apache-2.0
/** Image sets in tests: writing one, decoding one into plain values. */
import { mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type DescMessage, toJson, type JsonValue } from "@bufbuild/protobuf";
import type { Output } from "../../src/adapter/output.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { format } from "../../formats/criu/index.js";
import { CoreEntrySchema } from "../../formats/criu/gen/core_pb.js";
import { FdinfoEntrySchema, FileEntrySchema, TtyInfoSchema } from "../../formats/criu/gen/files_pb.js";
import { MemfdInodeSchema, MmEntrySchema, PagemapEntrySchema, PagemapHeadSchema } from "../../formats/criu/gen/memory_pb.js";
import { MountEntrySchema, UserNamespaceSchema, UtsNamespaceSchema } from "../../formats/criu/gen/namespaces_pb.js";
import { GhostFileSchema, PipeDataSchema, RemapFilePathSchema, SocketPacketSchema } from "../../formats/criu/gen/payload_pb.js";
import { FsEntrySchema, InventorySchema, KernelIdsSchema, TimensEntrySchema, TreeEntrySchema } from "../../formats/criu/gen/tree_pb.js";
import { ImageReader } from "../../formats/criu/wire/image-reader.js";

interface Kind {
  readonly schema: DescMessage;
  /** Of the first entry, if it is another. */
  readonly head?: DescMessage;
  /** Raw bytes behind an entry. */
  readonly payload?: (entry: { bytes?: number; length?: number }) => number;
}

const kinds: Readonly<Record<string, Kind>> = {
  inventory: { schema: InventorySchema },
  pstree: { schema: TreeEntrySchema },
  core: { schema: CoreEntrySchema },
  ids: { schema: KernelIdsSchema },
  mm: { schema: MmEntrySchema },
  fs: { schema: FsEntrySchema },
  pagemap: { schema: PagemapEntrySchema, head: PagemapHeadSchema },
  "pagemap-shmem": { schema: PagemapEntrySchema, head: PagemapHeadSchema },
  files: { schema: FileEntrySchema },
  fdinfo: { schema: FdinfoEntrySchema },
  memfd: { schema: MemfdInodeSchema },
  "remap-fpath": { schema: RemapFilePathSchema },
  "pipes-data": { schema: PipeDataSchema, payload: (entry) => entry.bytes ?? 0 },
  "fifo-data": { schema: PipeDataSchema, payload: (entry) => entry.bytes ?? 0 },
  "sk-queues": { schema: SocketPacketSchema, payload: (entry) => entry.length ?? 0 },
  "tty-info": { schema: TtyInfoSchema },
  timens: { schema: TimensEntrySchema },
  utsns: { schema: UtsNamespaceSchema },
  userns: { schema: UserNamespaceSchema },
  mountpoints: { schema: MountEntrySchema },
};

/** What an image says: its messages as JSON with the names of the descriptions, or the bytes in base64. */
export type Decoded = readonly JsonValue[];

/** Decodes an image; undefined for one without a description. */
export function decodeImage(path: string): Decoded | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name.startsWith("ghost-file-")) {
    const reader = new ImageReader(path, path);
    reader.readMagic("ghost-file");
    const ghost = toJson(GhostFileSchema, reader.one(GhostFileSchema), { useProtoFieldName: true });
    const rest = reader.payload(reader.size - reader.position, 1 << 26);
    reader.close();
    return [ghost, Buffer.from(rest).toString("base64")];
  }
  const typeId = name.replace(/\.img$/, "").replace(/-\d+$/, "");
  const kind = kinds[typeId];
  if (!kind) return undefined;
  const reader = new ImageReader(path, path);
  try {
    reader.readMagic(typeId);
    const entries: JsonValue[] = [];
    for (;;) {
      const schema = entries.length === 0 && kind.head ? kind.head : kind.schema;
      const entry = reader.next(schema);
      if (!entry) return entries;
      const json = toJson(schema, entry, { useProtoFieldName: true });
      const length = kind.payload?.(entry as { bytes?: number; length?: number }) ?? 0;
      const extra = Buffer.from(reader.payload(length, 1 << 26)).toString("base64");
      entries.push(kind.payload && length > 0 ? { ...(json as object), extra } : json);
    }
  } finally {
    reader.close();
  }
}

/** Writes a checkpoint as an image set into a new directory. */
export async function writeSet(checkpoint: Checkpoint, directory: string): Promise<void> {
  mkdirSync(directory, { mode: 0o700 });
  const output: Output = {
    path: directory,
    file() {
      throw new Error("an image set is a directory");
    },
    create: (name) => ({ fd: openSync(join(directory, name), "wx+", 0o600), path: join(directory, name) }),
  };
  if (!format.write) throw new Error("criu cannot be written");
  await format.write(checkpoint, output, {});
}

/** Reads a set; losses are collected. */
export async function readSet(path: string, losses: string[] = []): Promise<Checkpoint> {
  if (!format.read) throw new Error("criu cannot be read");
  return format.read(path, { onLoss: (loss) => losses.push(loss.text) });
}

const inOrder = (entries: Decoded): string[] => entries.map((entry) => JSON.stringify(entry));
/** Images whose entries may stand in any order. */
const unordered = /^(files|remap-fpath|memfd|tty-info|mountpoints-\d+)\.img$/;

/** Differences between two sets, message by message and page by page; `ignore` names files that need not be there. */
export function differencesOfSets(left: string, right: string, ignore: RegExp): string[] {
  const names = (path: string): string[] =>
    readdirSync(path)
      .filter((name) => /\.img$|^stats-dump$/.test(name) && !ignore.test(name))
      .sort();
  const found: string[] = [];
  const [before, after] = [names(left), names(right)];
  for (const name of before) if (!after.includes(name)) found.push(`${name} is missing`);
  for (const name of after) if (!before.includes(name)) found.push(`${name} is new`);
  for (const name of before.filter((one) => after.includes(one))) {
    const [a, b] = [join(left, name), join(right, name)];
    const [from, to] = [decodeImage(a), decodeImage(b)];
    if (from && to) {
      const [x, y] = unordered.test(name) ? [inOrder(from).sort(), inOrder(to).sort()] : [inOrder(from), inOrder(to)];
      x.forEach((entry, index) => {
        if (entry !== y[index]) found.push(`${name} entry ${index}: ${entry.slice(0, 500)} | ${y[index]?.slice(0, 500) ?? "none"}`);
      });
      if (x.length < y.length) found.push(`${name} has ${y.length - x.length} entries more`);
    } else if (!readFileSync(a).equals(readFileSync(b))) {
      found.push(`${name} differs`);
    }
  }
  return found;
}
