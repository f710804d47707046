// SPDX-License-Identifier: Apache-2.0
/** The bytes of the vDSO that the tree was running with (SPEC 5.128). */
import type { Checkpoint } from "./checkpoint.js";

/** The bytes of the vDSO, if the checkpoint has them. */
export function storedVdso({ tables }: Pick<Checkpoint, "tables">): Uint8Array | undefined {
  const image = tables.vdsoImages[0]?.image;
  return image === undefined || image.length === 0 ? undefined : image;
}
