// SPDX-License-Identifier: Apache-2.0
/** Locks and leases ↔ filelocks.img. An image that a set had is carried along whole and written again. */
import { create } from "@bufbuild/protobuf";
import type { Output } from "../../../src/adapter/output.js";
import { fileLockRow, type FileLockRow, type LockKind, type LockType } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { type FileLock, FileLockSchema } from "../gen/files_pb.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { ImageWriter } from "../wire/image-writer.js";

const flags: Readonly<Record<LockKind, number>> = { posix: 1, flock: 2, ofd: 4, lease: 8 };
const types: readonly LockType[] = ["read", "write", "unlock"];
/** Added to the type of a lease that is being broken. */
const breaking = 4;

/** The row of an entry; undefined if it names no descriptor of the set, or a kind that is unknown. */
export function lockFromWire(builder: ModelBuilder, entry: FileLock): FileLockRow | undefined {
  const { descriptors, files } = builder.tables;
  const task = builder.taskRows.get(entry.pid);
  const file = descriptors.find((row) => row.task === task && row.fd === entry.fd)?.file;
  const kind = (Object.keys(flags) as LockKind[]).find((one) => (entry.flag & flags[one]) !== 0);
  const target = types[entry.type & 3];
  if (task === undefined || file === undefined || kind === undefined || target === undefined) return undefined;
  const range = { start: BigInt.asUintN(64, entry.start), length: BigInt.asUintN(64, entry.len) };
  if (kind === "posix") return fileLockRow({ kind, type: target, target, file, task, ...range });
  if (kind !== "lease") return fileLockRow({ kind, type: target, target, file, ...range });
  const isWritten = ((files[file]?.flags ?? 0) & 3) !== 0;
  const was = (entry.type & breaking) === 0 ? target : target === "read" || isWritten ? "write" : "read";
  return fileLockRow({ kind, type: was, target, file });
}

/** Adds the rows of all entries; returns how many have none. */
export function addLocks(builder: ModelBuilder): number {
  const rows = builder.wire.fileLocks.map((entry) => lockFromWire(builder, entry));
  builder.tables.fileLocks.push(...rows.filter((row) => row !== undefined));
  return rows.filter((row) => row === undefined).length;
}

export function writeLocks(output: Output, context: ImageSetIds): void {
  const { descriptors, fileLocks, tasks } = context.tables;
  const entries = fileLocks.flatMap((lock) => {
    const holder = descriptors.find((row) => row.file === lock.file && (lock.task === null || row.task === lock.task));
    if (holder === undefined) return [];
    const target = types.indexOf(lock.target);
    return create(FileLockSchema, {
      flag: flags[lock.kind],
      type: lock.target === lock.type ? target : target | breaking,
      pid: tasks[holder.task]?.pid ?? 0,
      fd: holder.fd,
      start: BigInt.asIntN(64, lock.start),
      len: BigInt.asIntN(64, lock.length),
    });
  });
  if (entries.length === 0 || context.foreign.whole("image:filelocks.img").length > 0) return;
  const writer = new ImageWriter(output, "filelocks.img", "filelocks");
  for (const entry of entries) writer.entry(FileLockSchema, entry);
  writer.flush();
}
