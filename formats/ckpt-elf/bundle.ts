// SPDX-License-Identifier: Apache-2.0
/** `--bundle`: the bytes of the files that a tree maps, executes or reads become part of its image, each once. */
import type { Loss } from "../../src/adapter/format.js";
import { CrimgError, exitStatus } from "../../src/errors/crimg-error.js";
import { extentRow, type ExtentRow, type ObjectRow } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { neededFiles } from "../../src/model/needed-files.js";
import { alignUp } from "../../src/lower/align.js";
import { MappedFiles } from "../../src/pages/mapped-files.js";
import { pageSize } from "./image-header.js";

/** A checkpoint whose extents include the bytes of its files. `close` after the copy. */
export interface Bundled {
  readonly checkpoint: Checkpoint;
  close(): void;
}

/** Adds the files. @throws CrimgError `bundle.file` for one that is not there any more as it was, or cannot be read */
export function bundle(checkpoint: Checkpoint): Bundled {
  const { tables } = checkpoint;
  // A file that lost the name that the tree knows is found under another.
  const files = new MappedFiles({
    ...tables,
    objects: tables.objects.map((row) => (row.linkTarget === "" || row.kind !== "file" ? row : { ...row, path: row.linkTarget })),
  });
  try {
    const objects: ObjectRow[] = [...tables.objects];
    const extents: ExtentRow[] = [...tables.extents];
    const sources = [...checkpoint.sources];
    for (const { object, row, leftOut } of neededFiles(tables)) {
      if (leftOut !== undefined || row.bundled === 1) continue;
      const file = files.get(object);
      if ("refusal" in file) {
        throw new CrimgError(
          "bundle.file",
          `--bundle: ${file.refusal}`,
          { path: `objects[${object}]`, hint: "put the file back as it was, or leave --bundle out" },
          exitStatus.refused,
        );
      }
      const source = sources.push(file.pages) - 1;
      for (const { position, length } of file.pages.dataRanges(0n, file.size)) {
        const start = position & ~(pageSize - 1n);
        const wanted = alignUp(position + length, pageSize);
        const end = wanted < file.size ? wanted : file.size;
        const last = extents.at(-1);
        const isNext = last?.ownerKind === "object" && last.owner === object && last.address + last.length >= start;
        if (isNext) extents[extents.length - 1] = { ...last, length: end - last.address };
        else
          extents.push(extentRow({ ownerKind: "object", owner: object, address: start, length: end - start, fileOffset: start, source }));
      }
      objects[object] = { ...row, size: file.size, bundled: 1 };
    }
    const bundled = new Checkpoint({ tables: { ...tables, objects, extents }, sources, unknownTables: checkpoint.unknownTables });
    return { checkpoint: bundled, close: () => files.close() };
  } catch (error) {
    files.close();
    throw error;
  }
}

const mostNamed = 3;

/** Files that the resume needs all the same. */
export function bundleLosses({ tables }: Checkpoint): readonly Loss[] {
  const left = neededFiles(tables).filter(({ leftOut }) => leftOut !== undefined);
  if (left.length === 0) return [];
  const named = left.slice(0, mostNamed).map(({ row, leftOut }) => `${row.path} (${leftOut})`);
  const more = left.length > mostNamed ? ` and ${left.length - mostNamed} more` : "";
  const text = `not in the image, and so needed at the resume: ${named.join(", ")}${more}`;
  return [{ code: "bundle.left-out", facet: "files", count: 1, text }];
}
