// SPDX-License-Identifier: Apache-2.0
/** Which files a resume needs, and which of them an image can hold itself (`--bundle`). */
import { openFlags } from "../linux/open-flags.js";
import { fuseFileSystem, viewFileSystems } from "../linux/file-systems.js";
import type { ObjectRow, Tables } from "../gen/tables.js";
import { unlikeRows } from "./space-columns.js";
import { vmaProtBits, vmaVmFlagsBits } from "../gen/tables.js";
import { useOfFile } from "./file-use.js";

/** Larger files that the tree shares with others through memory, or only reads, stay where they are. */
const mostShared = 64n << 20n;

/** What becomes of a regular file with a name. */
export interface NeededFile {
  readonly object: number;
  readonly row: ObjectRow;
  /** Absent: its bytes go into the image. Else why they do not. */
  readonly leftOut?: string;
}

/** Whether somebody can write to the file through memory: what is there at the resume is no matter of the image. */
export function isSharedForWriting({ vmas }: Pick<Tables, "vmas">, object: number): boolean {
  return unlikeRows(vmas).some(
    (vma) =>
      vma.object === object &&
      vma.kind === "file_shared" &&
      ((vma.prot & vmaProtBits.write) !== 0 || (vma.vmFlags & vmaVmFlagsBits.mw) !== 0n),
  );
}

/** Every regular file with a name that the tree maps, executes or has open, in the order of the table. */
export function neededFiles(tables: Tables): readonly NeededFile[] {
  const mapped = new Set<number>();
  for (const { kind, object } of unlikeRows(tables.vmas))
    if (object !== null && (kind === "file_private" || kind === "file_shared")) mapped.add(object);
  for (const { exe } of tables.mms) if (exe !== null) mapped.add(exe);
  const opened = new Set<number>();
  for (const { kind, object, flags } of tables.files)
    if (kind === "path" && object !== null && (flags & openFlags.PATH) === 0) opened.add(object);
  return tables.objects.flatMap((row, object) => {
    const isMapped = mapped.has(object);
    if (row.kind !== "file" || !row.path.startsWith("/") || viewFileSystems.has(row.fsMagic) || !(isMapped || opened.has(object)))
      return [];
    const isShared = isSharedForWriting(tables, object);
    if (row.fsMagic === fuseFileSystem) return [{ object, row, leftOut: "it lies on a filesystem that a program serves" }];
    if (!isMapped && useOfFile(tables, object) !== "read") return [{ object, row, leftOut: "the program writes it" }];
    if ((isShared || !isMapped) && row.size > mostShared) return [{ object, row, leftOut: `it has more than ${mostShared >> 20n} MiB` }];
    return [{ object, row }];
  });
}
