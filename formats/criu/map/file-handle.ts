// SPDX-License-Identifier: Apache-2.0
/**
 * Inodes that watches and marks name. A set has them by number and file handle, and by path where they have one; the model
 * goes by path. CRIU takes the path where there is one.
 */
import { create } from "@bufbuild/protobuf";
import { decodeText, encodeText } from "../../../src/bytes/text.js";
import { type ObjectRow, objectRow } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { type FileHandle, FileHandleSchema } from "../gen/files_pb.js";

/** CRIU wants that many words at least. */
const leastWords = 16;

export function handleToWire(object: ObjectRow): FileHandle {
  return create(FileHandleSchema, {
    bytes: 0,
    type: 0,
    handle: Array.from({ length: leastWords }, () => 0n),
    path: encodeText(object.path),
  });
}

/** The kernel's number of the device of an object. */
export const deviceToWire = ({ devMajor, devMinor }: ObjectRow): number => ((devMajor << 20) | devMinor) >>> 0;

/** The object of a path, made at its first use; without a path, of a number. */
export function markedFromWire(builder: ModelBuilder, path: Uint8Array | undefined, ino: bigint, device: number): number {
  const key = `marked ${ino} ${device} ${Buffer.from(path ?? []).toString("latin1")}`;
  const known = builder.objectRows.get(key);
  if (known !== undefined) return known;
  const row = builder.tables.objects.length;
  builder.objectRows.set(key, row);
  builder.tables.objects.push(
    objectRow({
      kind: "other",
      path: path === undefined ? "" : decodeText(path),
      ino,
      devMajor: (device >>> 20) & 0xfff,
      devMinor: device & 0xfffff,
      nlink: 1,
    }),
  );
  return row;
}

/** Names of rows whose object CRIU does not find again: what has no name, and links, which it follows. */
export function namelessMarks(objects: readonly ObjectRow[], rows: readonly { readonly object: number }[]): string[] {
  return rows.flatMap(({ object }) => {
    const found = objects[object];
    const isNamed =
      found !== undefined && found.kind !== "ghost" && found.kind !== "memfd" && found.kind !== "symlink" && found.path !== "";
    return isNamed ? [] : [found?.path || `inode ${found?.ino ?? "?"}`];
  });
}
