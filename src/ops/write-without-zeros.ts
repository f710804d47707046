// SPDX-License-Identifier: Apache-2.0
/** Writing in any format without pages of zeros. */
import { CrimgError } from "../errors/crimg-error.js";
import type { FormatAdapter, WriteOptions } from "../adapter/format.js";
import type { Output } from "../adapter/output.js";
import { Checkpoint } from "../model/checkpoint.js";
import { withEqualPagesOnce } from "../pages/equal-pages.js";
import { withoutZeroPages } from "../pages/storage-plan.js";

/** @throws CrimgError `usage.compress`, `usage.dedup` where the format cannot */
export function assertCompressible(
  { id, isExecutable }: FormatAdapter,
  { compress, dedup }: Pick<WriteOptions, "compress" | "dedup">,
): void {
  if (isExecutable === true) return;
  if (dedup === true) {
    throw new CrimgError("usage.dedup", `--dedup is for executable images, and ${id} is none`, { hint: "leave --dedup out" });
  }
  if (compress === undefined) return;
  throw new CrimgError("usage.compress", `--compress is for executable images, and ${id} is none`, {
    hint: "leave --compress out, and compress the file",
  });
}

/** Writes a checkpoint; a format that does not deal with pages of zeros itself does not see them. */
export async function writeWithoutZeros(format: FormatAdapter, given: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  const { tables, sources, unknownTables } = given;
  // Pages in parents are sources like any others, and become part of what is written.
  const isMerged = tables.parents.length > 0 && format.canHaveParent !== true;
  const checkpoint = isMerged ? new Checkpoint({ tables: { ...tables, parents: [] }, sources, unknownTables }) : given;
  const onProgress = (): void => options.onProgress?.(0n, 0n);
  if (options.parent !== undefined && format.canHaveParent !== true) {
    throw new CrimgError("usage.parent", `${format.id} cannot leave pages to a parent`, { hint: "leave --parent or --to out" });
  }
  const seen = format.knowsZeroPages === true ? checkpoint : await withoutZeroPages(checkpoint, { onProgress });
  const once = options.dedup === true ? await withEqualPagesOnce(seen, { onProgress }) : seen;
  await format.write?.(once, output, options);
}
