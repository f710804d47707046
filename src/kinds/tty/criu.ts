// SPDX-License-Identifier: Apache-2.0
/**
 * Terminals in image sets. Masters of pseudo-terminals are not in the model, nor slaves whose master is in the set: they
 * are kept for CRIU only.
 */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { formatId } from "../../../formats/criu/foreign/foreign.js";
import { type FileEntry, FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { objectOfReg, ownerToWire, regToWire } from "../../../formats/criu/map/map-object.js";
import { objectRow, type OpenFileRow } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { isDeviceInfo } from "../pty/criu.js";
import { writeTerminals } from "./criu-info.js";

export const mapping: FileMapping = {
  fromWire(builder, { tty }) {
    const path = tty && builder.wire.files.get(tty.regfId)?.reg;
    if (!path || builder.pairedTerminals.has(tty.ttyInfoId)) return undefined;
    if (builder.wire.terminals.some((info) => info.id === tty.ttyInfoId && isDeviceInfo(info))) return undefined;
    return { kind: "tty", object: objectOfReg(builder, path), flags: tty.flags, fown: tty.fown };
  },
  finishReading: placeTerminals,
  toWire: streamToWire,
  hasPathEntry: (context, row) => context.isTerminal(row),
  writeImages: writeTerminals,
  losses: (checkpoint) => [
    {
      code: "files.terminal-settings",
      facet: "files",
      names: unknownTerminals(checkpoint),
      what: "the terminal's settings and size become the usual ones",
    },
  ],
};

/** What stands for a stream of the caller that is no terminal: a set cannot name it. */
const devNull = objectRow({ kind: "char_device", mode: 0o020666, path: "/dev/null", nlink: 1 });

/** The entry of a stream of the caller. */
export function streamToWire(context: ImageSetIds, row: number, file: OpenFileRow): FileEntry {
  const id = context.fileId(row);
  if (!context.isTerminal(row)) return regToWire(devNull, id, file);
  const tty = { id, ttyInfoId: context.ttyInfoId(row), flags: file.flags, fown: ownerToWire(file), regfId: context.pathFileId(row) };
  return create(FileEntrySchema, { type: fileType.tty, id, tty });
}

/**
 * Terminals are the caller's in the model: a standard stream is inherited, another description of a terminal goes by
 * the stream of the same one.
 */
function placeTerminals(builder: ModelBuilder): void {
  const { tables } = builder;
  const streams = new Map<number, number>();
  for (const { fd, file } of tables.descriptors) {
    const row = tables.files[file];
    if (fd > 2 || row?.kind !== "tty") continue;
    tables.files[file] = { ...row, kind: "inherited", detail: fd };
    if (row.object !== null) streams.set(row.object, fd);
  }
  const [anyStream = 0] = streams.values();
  tables.files.forEach((row, file) => {
    if (row.kind === "tty")
      tables.files[file] = { ...row, detail: (row.object === null ? undefined : streams.get(row.object)) ?? anyStream };
  });
}

/** Terminals whose settings no image set said before. */
function unknownTerminals({ tables }: Checkpoint): string[] {
  if (tables.foreign.some((row) => row.format === formatId && row.key === "image:tty-info.img")) return [];
  return tables.objects.filter((object) => object.kind === "char_device" && /\/pts\/\d+$/.test(object.path)).map((object) => object.path);
}
