// SPDX-License-Identifier: Apache-2.0
/** Rewrites an image set of CRIU 4.2 as earlier versions would have written it. Images are data: no program is needed. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clearField, create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { CoreEntrySchema, SigActionSchema, ThreadCoreSchema } from "../../formats/criu/gen/core_pb.js";
import { FifoSchema, FileEntrySchema, TtyFileSchema } from "../../formats/criu/gen/files_pb.js";
import { MemfdInodeSchema, MmEntrySchema, PagemapEntrySchema } from "../../formats/criu/gen/memory_pb.js";
import { commonMagic, fileImages, magicOf } from "../../formats/criu/wire/image-types.js";
import { areaStatus, mapFlag } from "../../formats/criu/map/vma-status.js";

/** A copy of the images of a set, writable whatever the set is. */
export function copySet(source: string, target: string): void {
  mkdirSync(target);
  for (const name of readdirSync(source).filter((one) => /\.img$|^stats-dump$/.test(one)))
    writeFileSync(join(target, name), readFileSync(join(source, name)));
}

/** The messages of an image, undecoded. */
export function messagesOf(path: string): Buffer[] {
  const bytes = readFileSync(path);
  const messages: Buffer[] = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    messages.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return messages;
}

/** Writes an image of the given kind. */
export function writeImage(path: string, kind: string, messages: readonly Uint8Array[]): void {
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  writeFileSync(
    path,
    Buffer.concat([u32(commonMagic), u32(magicOf(kind)), ...messages.flatMap((message) => [u32(message.length), message])]),
  );
}

function edit<Schema extends DescMessage>(
  path: string,
  kind: string,
  schema: Schema,
  change: (message: MessageShape<Schema>, index: number) => void,
  skip = 0,
): void {
  const messages = messagesOf(path).map((bytes, index) => {
    if (index < skip) return bytes;
    const message = fromBinary(schema, bytes);
    change(message, index);
    return toBinary(schema, message);
  });
  writeImage(path, kind, messages);
}

const imagesOf = (set: string, pattern: RegExp): string[] =>
  readdirSync(set)
    .filter((name) => pattern.test(name))
    .map((name) => join(set, name));

/** Before 4.2: the number of pages is one of 32 bits; before 3.5 a map has no flags. */
export function withNarrowCounts(set: string, hasFlags: boolean): void {
  for (const path of imagesOf(set, /^pagemap-.*\.img$/)) {
    edit(
      path,
      "pagemap",
      PagemapEntrySchema,
      (entry) => {
        entry.compatNrPages = Number(entry.nrPages);
        clearField(entry, PagemapEntrySchema.field.nrPages);
        if (!hasFlags) clearField(entry, PagemapEntrySchema.field.flags);
      },
      1,
    );
  }
}

/** Before 3.14: areas of anonymous shared memory name it themselves, and there are no memory files. */
export function withoutMemoryFiles(set: string): void {
  const memfds = join(set, "memfd.img");
  const shmids = new Map(
    existsSync(memfds)
      ? messagesOf(memfds)
          .map((bytes) => fromBinary(MemfdInodeSchema, bytes))
          .map((inode) => [Number(inode.inodeId), inode.shmid])
      : [],
  );
  rmSync(memfds, { force: true });
  const byFile = new Map<number, number>();
  const rest = messagesOf(join(set, "files.img")).filter((bytes) => {
    const { id, memfd } = fromBinary(FileEntrySchema, bytes);
    if (memfd) byFile.set(id, shmids.get(memfd.inodeId) ?? 0);
    return !memfd;
  });
  writeImage(join(set, "files.img"), "files", rest);
  for (const path of imagesOf(set, /^mm-\d+\.img$/)) {
    edit(path, "mm", MmEntrySchema, (mm) => {
      for (const vma of mm.vmas) {
        const shmid = (vma.status & areaStatus.memfd) === 0 ? undefined : byFile.get(Number(vma.shmid));
        if (shmid === undefined) continue;
        vma.shmid = BigInt(shmid);
        vma.status = areaStatus.regular | areaStatus.anonShared;
        vma.flags |= mapFlag.anonymous;
      }
    });
  }
}

/** Before 3.11: threads have no names, and of the extended registers only AVX is there. */
export function withoutThreadNames(set: string): void {
  for (const path of imagesOf(set, /^core-\d+\.img$/)) {
    edit(path, "core", CoreEntrySchema, (core) => {
      if (core.threadCore) clearField(core.threadCore, ThreadCoreSchema.field.comm);
    });
  }
}

/** Before 3.6: the entry with the path of a FIFO or terminal has the id of the entry that it belongs to. */
export function withSharedPathIds(set: string): void {
  const entries = messagesOf(join(set, "files.img")).map((bytes) => fromBinary(FileEntrySchema, bytes));
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  for (const { id, fifo, tty } of entries) {
    const path = byId.get((fifo ?? tty)?.regfId ?? 0);
    if (!path?.reg) continue;
    path.id = path.reg.id = id;
    if (fifo) clearField(fifo, FifoSchema.field.regfId);
    if (tty) clearField(tty, TtyFileSchema.field.regfId);
  }
  writeImage(
    join(set, "files.img"),
    "files",
    entries.map((entry) => toBinary(FileEntrySchema, entry)),
  );
}

/** Before 3.4: each kind of open file has an image of its own. */
export function withFilesByKind(set: string): void {
  const byMember = new Map<number, Uint8Array[]>();
  for (const bytes of messagesOf(join(set, "files.img"))) {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [member, wireType] = reader.tag();
      if (wireType !== WireType.LengthDelimited) {
        reader.skip(wireType);
        continue;
      }
      const message = reader.bytes();
      byMember.set(member, [...(byMember.get(member) ?? []), message]);
    }
  }
  rmSync(join(set, "files.img"));
  for (const { id, member } of fileImages) {
    const messages = byMember.get(member);
    if (messages) writeImage(join(set, `${id}.img`), id, messages);
  }
}

/** 3.0: signal actions are in an image of their own. */
export function withSeparateActions(set: string): void {
  for (const path of imagesOf(set, /^core-\d+\.img$/)) {
    edit(path, "core", CoreEntrySchema, (core) => {
      if (!core.tc || core.tc.sigactions.length === 0) return;
      const actions = core.tc.sigactions.map((action) => toBinary(SigActionSchema, action));
      writeImage(path.replace("core-", "sigacts-"), "sigacts", actions);
      core.tc.sigactions = [];
    });
  }
}

/** A member of FileEntry that the descriptions do not have, as bytes. */
export function unknownFile(member: number, type: number, id: number, text: string): Uint8Array {
  const message = new BinaryWriter().tag(1, WireType.Varint).uint32(id).tag(99, WireType.LengthDelimited).string(text).finish();
  const head = toBinary(FileEntrySchema, create(FileEntrySchema, { type, id }));
  return Buffer.concat([head, new BinaryWriter().tag(member, WireType.LengthDelimited).bytes(message).finish()]);
}
