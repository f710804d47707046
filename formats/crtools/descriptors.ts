// SPDX-License-Identifier: Apache-2.0
/** fdinfo-PID.img and pipes-PID.img ↔ descriptors, files, pipes. */
import { openFlags } from "../../src/linux/open-flags.js";
import type { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { decodeText, encodeText } from "../../src/bytes/text.js";
import {
  type FdinfoEntry,
  type PipeEntry,
  fdinfoTypeValues,
  readFdinfoEntry,
  readPipeEntry,
  writeFdinfoEntry,
  writePipeEntry,
} from "../../src/gen/crtools-2011.js";
import { type ObjectRow, descriptorRow, openFileRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { ModelBuilder } from "../../src/rfc2011/model-builder.js";
import { areasOf } from "../../src/rfc2011/stored-pages.js";
import { entryError } from "./image-files.js";

/** O_CLOEXEC, as it stands among the flags of a pipe. */
const accessMode = 3;
/** NR_OPEN_MAX of the kernel: no descriptor number is above. */
const maxDescriptor = 0x3fff_ffc0;
const maxPathBytes = 255;

/** Reads fdinfo. @throws CrimgError `crtools.fdinfo`, `crtools.path`, `bytes.*` */
export function readFdinfo(reader: ByteReader): FdinfoEntry[] {
  const numbers = new Set<string>();
  const entries: FdinfoEntry[] = [];
  while (reader.remaining > 0) {
    const path = `fdinfo[${entries.length}]`;
    reader.enter("fdinfo", entries.length);
    const pos = reader.pos;
    const entry = readFdinfoEntry(reader);
    const { type, addr } = entry;
    if (type !== fdinfoTypeValues.descriptor && type !== fdinfoTypeValues.map) {
      throw entryError(reader, "crtools.fdinfo", `the type must be 1 (descriptor) or 2 (mapped file), found ${type}`, pos, `${path}.type`);
    }
    if (type === fdinfoTypeValues.descriptor && addr > BigInt(maxDescriptor)) {
      throw entryError(reader, "crtools.fdinfo", `a descriptor must be 0 to ${maxDescriptor}, found ${addr}`, pos, `${path}.addr`);
    }
    if (numbers.has(`${type} ${addr}`)) {
      const what = type === fdinfoTypeValues.descriptor ? `descriptor ${addr}` : `the area at 0x${addr.toString(16)}`;
      throw entryError(reader, "crtools.fdinfo", `${what} stands twice`, pos, `${path}.addr`);
    }
    numbers.add(`${type} ${addr}`);
    assertPath(reader, entry.path, pos, `${path}.path`);
    entries.push(entry);
  }
  return entries;
}

/** Names come from the kernel, which gives absolute ones without "..": anything else is somebody's invention. */
function assertPath(reader: ByteReader, bytes: Uint8Array, pos: number, path: string): void {
  const text = decodeText(bytes);
  const fault = !text.startsWith("/")
    ? "is not absolute"
    : text.includes("\0")
      ? "has a NUL in it"
      : text.split("/").includes("..")
        ? "has .. in it"
        : undefined;
  if (fault === undefined) return;
  throw entryError(
    reader,
    "crtools.path",
    `the path ${JSON.stringify(text)} ${fault}`,
    pos,
    path,
    "the kernel never gives such a path: the image was made up or is damaged",
  );
}

/** Reads pipes. @throws CrimgError `crtools.pipes`, `bytes.*` */
export function readPipes(reader: ByteReader): PipeEntry[] {
  const entries: PipeEntry[] = [];
  const numbers = new Set<number>();
  while (reader.remaining > 0) {
    const path = `pipes[${entries.length}]`;
    reader.enter("pipes", entries.length);
    const pos = reader.pos;
    const entry = readPipeEntry(reader);
    if (entry.fd > maxDescriptor)
      throw entryError(reader, "crtools.pipes", `a descriptor must be 0 to ${maxDescriptor}, found ${entry.fd}`, pos, `${path}.fd`);
    if (numbers.has(entry.fd)) throw entryError(reader, "crtools.pipes", `descriptor ${entry.fd} stands twice`, pos, `${path}.fd`);
    numbers.add(entry.fd);
    entries.push(entry);
  }
  return entries;
}

/** Puts the descriptors of one task into the tables. */
export function addDescriptors(builder: ModelBuilder, task: number, fdinfo: readonly FdinfoEntry[], pipes: readonly PipeEntry[]): void {
  const { tables } = builder;
  const taken = new Set<number>();
  const rows = [];
  for (const entry of fdinfo) {
    if (entry.type !== fdinfoTypeValues.descriptor) continue;
    // Which descriptors share an open file is not in the format: each is opened for itself, as the tool did.
    const file = tables.files.push(
      openFileRow({ kind: "path", object: builder.fileObject(decodeText(entry.path)), flags: entry.flags, pos: BigInt(entry.pos) }),
    );
    const fd = Number(entry.addr);
    taken.add(fd);
    rows.push(descriptorRow({ task, fd, file: file - 1 }));
  }
  for (const entry of pipes) {
    if (taken.has(entry.fd)) continue;
    taken.add(entry.fd);
    rows.push(
      descriptorRow({
        task,
        fd: entry.fd,
        file: builder.pipeFile(entry.pipeid, (entry.flags & ~openFlags.CLOEXEC) >>> 0, entry.data),
        flags: entry.flags & openFlags.CLOEXEC ? 1 : 0,
      }),
    );
  }
  builder.addStandardDescriptors(task, taken);
  rows.sort((a, b) => a.fd - b.fd);
  for (const row of rows) tables.descriptors.push(row);
}

/** The path as /proc shows it: of an unlinked file, with what the kernel adds. */
export function kernelPath(object: ObjectRow): Uint8Array {
  return encodeText(object.kind === "ghost" ? `${object.path} (deleted)` : object.path);
}

/** Whether the tool would have dumped a descriptor: it skips 0 to 2 and terminals, and knows files and pipes. */
export function isHeldByFdinfo(checkpoint: Checkpoint, file: number, fd: number): boolean {
  const row = checkpoint.tables.files[file];
  const object = row?.object == null ? undefined : checkpoint.tables.objects[row.object];
  if (row?.kind !== "path" || !object || fd < 3) return false;
  // An unlinked file cannot be opened again, and its bytes are not in the set.
  return object.kind === "file" && kernelPath(object).length <= maxPathBytes;
}

/** fdinfo of a task: descriptors, then mapped files, each ascending. */
export function fdinfoBytes(checkpoint: Checkpoint, task: number): Uint8Array {
  const { tables } = checkpoint;
  const writer = new ByteWriter();
  for (const index of checkpoint.descriptorsOf(task)) {
    const descriptor = tables.descriptors[index];
    if (!descriptor || !isHeldByFdinfo(checkpoint, descriptor.file, descriptor.fd)) continue;
    const file = tables.files[descriptor.file];
    const object = tables.objects[file?.object ?? -1];
    if (!file || !object) continue;
    writeFdinfoEntry(writer, {
      type: fdinfoTypeValues.descriptor,
      flags: file.flags & 0xffff,
      pos: Number(file.pos & 0xffff_ffffn),
      addr: BigInt(descriptor.fd),
      path: kernelPath(object),
    });
  }
  for (const { row } of areasOf(checkpoint, task)) {
    const object = row.object === null ? undefined : tables.objects[row.object];
    if (!object || (row.kind !== "file_private" && row.kind !== "file_shared") || object.path === "") continue;
    const path = kernelPath(object);
    if (path.length > maxPathBytes || object.kind === "memfd") continue;
    // Only a shared mapping that can be written needs a writable file.
    const flags = row.kind === "file_shared" && row.prot & 2 ? 2 : 0;
    writeFdinfoEntry(writer, { type: fdinfoTypeValues.map, flags, pos: 0, addr: row.start, path });
  }
  return writer.finish();
}

/** Pipes of a task. The bytes in flight stand with the first read end. */
export function pipesBytes(checkpoint: Checkpoint, task: number): Uint8Array {
  const { tables } = checkpoint;
  const writer = new ByteWriter();
  const told = new Set<number>();
  for (const index of checkpoint.descriptorsOf(task)) {
    const descriptor = tables.descriptors[index];
    const file = descriptor && tables.files[descriptor.file];
    const pipe = file?.kind === "pipe" ? tables.pipes[file.detail ?? -1] : undefined;
    if (!descriptor || !file || !pipe || descriptor.fd < 3) continue;
    const isReader = (file.flags & accessMode) === 0 && !told.has(file.detail ?? -1);
    if (isReader) told.add(file.detail ?? -1);
    const flags = (descriptor.flags & 1 ? file.flags | openFlags.CLOEXEC : file.flags) >>> 0;
    writePipeEntry(writer, {
      fd: descriptor.fd,
      pipeid: Number(pipe.ino & 0xffff_ffffn),
      flags,
      data: isReader ? pipe.data : new Uint8Array(0),
    });
  }
  return writer.finish();
}
