// SPDX-License-Identifier: Apache-2.0
/** Pipes and FIFOs in image sets: a FIFO has its path in a regular file entry; what is in flight lies in images of its own. */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { type Fifo, FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { PipeDataSchema } from "../../../formats/criu/gen/payload_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping, FileParts } from "../../../formats/criu/map/kind.js";
import { objectOfReg, ownerToWire } from "../../../formats/criu/map/map-object.js";
import { ImageWriter } from "../../../formats/criu/wire/image-writer.js";
import type { Output } from "../../adapter/output.js";
import { pipeRow } from "../../gen/tables.js";

export const mapping: FileMapping = {
  fromWire(builder, entry) {
    const { pipe, fifo } = entry;
    if (fifo) return fifoParts(builder, entry.id, fifo);
    return pipe ? { kind: "pipe", detail: pipeOf(builder, pipe.pipeId, false), flags: pipe.flags, fown: pipe.fown } : undefined;
  },
  toWire(context, row, file) {
    const id = context.fileId(row);
    const pipeId = context.pipeId(file.detail ?? 0);
    return file.object !== null
      ? create(FileEntrySchema, { type: fileType.fifo, id, fifo: { id, pipeId, regfId: context.pathFileId(row) } })
      : create(FileEntrySchema, { type: fileType.pipe, id, pipe: { id, pipeId, flags: file.flags, fown: ownerToWire(file) } });
  },
  hasPathEntry: isFifo,
  pathEntryId: (context, row) => context.pathFileId(row),
  writeImages: writeContents,
  losses: ({ tables }) => [
    {
      code: "pipes.packets",
      facet: "pipes",
      names: tables.pipes.filter((pipe) => pipe.isPacket !== 0 && pipe.packets.length > 4).map((pipe) => `pipe ${pipe.ino}`),
      what: "packets in flight become one run of bytes",
    },
  ],
};

function isFifo({ tables }: ImageSetIds, row: number): boolean {
  return tables.files[row]?.object != null;
}

function fifoParts(builder: ModelBuilder, id: number, { pipeId, regfId }: Fifo): FileParts {
  const path = builder.wire.files.get(regfId)?.reg;
  if (!path)
    throw builder.error(
      "criu.file-id",
      `File ${regfId} with the path of a FIFO is not in files.img.`,
      "files.img",
      `id ${id} fifo.regf_id`,
    );
  return {
    kind: "pipe",
    detail: pipeOf(builder, pipeId, true),
    object: objectOfReg(builder, path),
    flags: path.flags,
    pos: path.pos,
    fown: path.fown,
  };
}

function pipeOf(builder: ModelBuilder, pipeId: number, isNamed: boolean): number {
  // Pipes and FIFOs are numbered apart from one another.
  const rows = isNamed ? builder.fifoRows : builder.pipeRows;
  const known = rows.get(pipeId);
  if (known !== undefined) return known;
  const payload = (isNamed ? builder.wire.fifoData : builder.wire.pipeData).find(({ entry }) => entry.pipeId === pipeId);
  const row =
    builder.tables.pipes.push(
      pipeRow({ ino: BigInt(pipeId), capacity: payload?.entry.size ?? 0, data: payload?.data ?? new Uint8Array(0) }),
    ) - 1;
  rows.set(pipeId, row);
  return row;
}

function writeContents(output: Output, context: ImageSetIds): void {
  const { tables } = context;
  const ends = tables.files.flatMap((file) => (file.kind === "pipe" && file.detail !== null ? [{ ...file, pipe: file.detail }] : []));
  const fifos = new Set(ends.flatMap((end) => (end.object !== null ? [end.pipe] : [])));
  // Only who can read a pipe shows what is in it.
  const readable = new Set(ends.flatMap((end) => ((end.flags & accessMode) !== writeOnly ? [end.pipe] : [])));
  for (const [name, typeId, isNamed] of [
    ["pipes-data.img", "pipes-data", false],
    ["fifo-data.img", "fifo-data", true],
  ] as const) {
    const rows = [...tables.pipes.entries()].filter(([row]) => readable.has(row) && fifos.has(row) === isNamed);
    if (rows.length === 0) continue;
    const writer = new ImageWriter(output, name, typeId);
    for (const [row, pipe] of rows) {
      writer.add(PipeDataSchema, {
        pipeId: context.pipeId(row),
        bytes: pipe.data.length,
        ...(pipe.capacity === 0 ? {} : { size: pipe.capacity }),
      });
      writer.raw(pipe.data);
    }
    writer.flush();
  }
}

/** O_ACCMODE, O_WRONLY. */
const accessMode = 3;
const writeOnly = 1;
