// SPDX-License-Identifier: Apache-2.0
/** Open file descriptions of files.img ↔ rows of `files` and of the tables that their kinds name. */
import { toBinary } from "@bufbuild/protobuf";
import { openFileRow } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { type FileEntry, FileEntrySchema } from "../gen/files_pb.js";
import { u32Bytes, type ImageSetIds } from "../ids/image-set-ids.js";
import { fileTypeName } from "./file-types.js";
import type { FileParts } from "./kind.js";
import { fileMappings } from "./kinds.js";
import { objectOf, ownerFromWire, regToWire } from "./map-object.js";

/** The row of a file entry; undefined for a kind that the model does not have, which is kept for CRIU. */
export function fileOfId(builder: ModelBuilder, id: number, image: string, path: string): number | undefined {
  const known = builder.fileRows.get(id);
  if (known !== undefined) return known;
  const entry = builder.wire.files.get(id);
  if (!entry) throw builder.error("criu.file-id", `File ${id} is not in files.img.`, image, path);
  const parts = partsOf(builder, entry);
  if (!parts) return undefined;
  const { tables } = builder;
  const row = tables.files.length;
  builder.fileRows.set(id, row);
  tables.files.push(
    openFileRow({
      kind: parts.kind,
      detail: parts.detail ?? null,
      object: parts.object ?? null,
      flags: parts.flags,
      pos: parts.pos ?? 0n,
      ...ownerFromWire(parts.fown),
    }),
  );
  builder.foreign.add({ table: "files", row }, "id", u32Bytes(id));
  if (entry.tty) builder.foreign.add({ table: "files", row }, "tty-info-id", u32Bytes(entry.tty.ttyInfoId));
  const pathId = entry.fifo?.regfId ?? entry.tty?.regfId;
  const pathEntry = pathId === undefined ? undefined : builder.wire.files.get(pathId);
  if (pathId !== undefined && pathEntry) {
    builder.pathFileIds.add(pathId);
    builder.foreign.add({ table: "files", row }, "path-id", u32Bytes(pathId));
  }
  builder.deltas.push((context, foreign) => {
    const anchor = { table: "files", row } as const;
    foreign.addDelta(anchor, "file", FileEntrySchema, entry, fileToWire(context, row));
    if (pathEntry) foreign.addDelta(anchor, "path", FileEntrySchema, pathEntry, pathFileToWire(context, row));
  });
  return row;
}

function partsOf(builder: ModelBuilder, entry: FileEntry): FileParts | undefined {
  for (const mapping of Object.values(fileMappings)) {
    const parts = mapping.fromWire(builder, entry);
    if (parts !== undefined) return parts;
  }
  return undefined;
}

/** What refers to files of any kind; all descriptors are there. */
export function finishFiles(builder: ModelBuilder): void {
  for (const mapping of Object.values(fileMappings)) {
    mapping.finishReading?.(builder, (id, image, path) => fileOfId(builder, id, image, path));
  }
}

/** Keeps an entry that the model has no kind for. */
export function keepFile(builder: ModelBuilder, entry: FileEntry): void {
  if (builder.keptFiles.has(entry.id)) return;
  builder.keptFiles.add(entry.id);
  builder.foreign.add({ table: "checkpoint", row: 0 }, "file", toBinary(FileEntrySchema, entry));
  builder.foreign.add({ table: "checkpoint", row: 0 }, "file-id", u32Bytes(entry.id));
}

/** For messages. */
export function describeFile(builder: ModelBuilder, id: number): string {
  return fileTypeName(builder.wire.files.get(id)?.type ?? 0);
}

/** The entry of an open file. */
export function fileToWire(context: ImageSetIds, row: number): FileEntry {
  const file = context.tables.files[row] ?? openFileRow();
  return fileMappings[file.kind].toWire(context, row, file);
}

/** The entry with the path of an open FIFO or terminal. */
export function pathFileToWire(context: ImageSetIds, row: number): FileEntry {
  const file = context.tables.files[row] ?? openFileRow();
  return regToWire(objectOf(context, file), context.pathFileId(row), file);
}
