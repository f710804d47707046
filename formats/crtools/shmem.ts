// SPDX-License-Identifier: Apache-2.0
/** shmem-PID.img: areas of anonymous shared memory. */
import type { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { readShmemEntry, writeShmemEntry } from "../../src/gen/crtools-2011.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { areasOf } from "../../src/rfc2011/stored-pages.js";
import { entryError } from "./image-files.js";

/** Reads and judges the entries; what they say is in the areas of the core too. @throws CrimgError `crtools.shmem`, `bytes.*` */
export function checkShmem(reader: ByteReader): void {
  for (let index = 0; reader.remaining > 0; index++) {
    reader.enter("shmem", index);
    const pos = reader.pos;
    const entry = readShmemEntry(reader);
    if (entry.start >= entry.end) {
      const range = `0x${entry.start.toString(16)}-0x${entry.end.toString(16)}`;
      throw entryError(reader, "crtools.shmem", `an area must end behind its start, found ${range}`, pos, `shmem[${index}].end`);
    }
  }
}

/** The entries of a task. */
export function shmemBytes(checkpoint: Checkpoint, task: number): Uint8Array {
  const writer = new ByteWriter();
  for (const { row } of areasOf(checkpoint, task)) {
    if (row.kind !== "anon_shared") continue;
    const shmid = row.object === null ? 0n : (checkpoint.tables.objects[row.object]?.ino ?? 0n);
    writeShmemEntry(writer, { start: row.start, end: row.end, shmid });
  }
  return writer.finish();
}
