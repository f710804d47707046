// SPDX-License-Identifier: Apache-2.0
/** `dump --rehearse`: the image is resumed once, in private namespaces, before it gets its name. */
import type { FormatAdapter } from "../../adapter/format.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { DumpOptions } from "../options.js";
import type { PendingOutput } from "../output.js";
import { rehearsalObstacle } from "../rehearsal-obstacle.js";
import { rehearsalFailed, rehearse } from "../rehearse.js";

/** Whether the tree can be rehearsed. @throws CrimgError `dump.rehearse-*` if not, and nobody wants to be told instead */
export function canRehearse(checkpoint: Checkpoint, { onUnrehearsed }: DumpOptions): boolean {
  const obstacle = rehearsalObstacle(checkpoint);
  if (obstacle === undefined) return true;
  if (onUnrehearsed === undefined) throw obstacle;
  onUnrehearsed(obstacle.message);
  return false;
}

export function cannotRehearse(): CrimgError {
  return new CrimgError("usage.rehearse", "--rehearse is for executable images in a file of their own", {
    hint: "name a file with -o, and leave --to out",
  });
}

/** @throws CrimgError `rehearse.*` */
export async function rehearseOutput(output: PendingOutput, format: FormatAdapter, name: string): Promise<void> {
  if (format.isExecutable !== true || output.seal === undefined) {
    throw cannotRehearse();
  }
  const outcome = await rehearse(output.seal(), name);
  if (!outcome.isGood) throw rehearsalFailed("the image", outcome, "The program continues unchanged, and no file is left.");
}
