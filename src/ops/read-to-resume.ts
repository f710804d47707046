// SPDX-License-Identifier: Apache-2.0
/** Reading a checkpoint in order to resume it: what is not there any more is found out now, not halfway. */
import type { Loss } from "../adapter/format.js";
import type { FormatRegistry } from "../adapter/registry.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { withoutMissingFiles } from "../rfc2011/missing-files.js";
import { readCheckpoint } from "./convert.js";
import type { Input } from "./input.js";

export interface ReadToResumeOptions {
  readonly registry: FormatRegistry;
  readonly from?: string;
  readonly mapFd?: boolean;
  readonly noVerify?: boolean;
  readonly onLoss?: (loss: Loss) => void;
}

/** The checkpoint as it can be resumed here. The caller closes it. @throws CrimgError `rfc2011.file` and what reading throws */
export async function readToResume(input: Input, options: ReadToResumeOptions): Promise<Checkpoint> {
  const { registry, from, onLoss } = options;
  const extra = { "map-fd": options.mapFd === true };
  const { checkpoint } = await readCheckpoint(input, { registry, from, onLoss, extra, verify: options.noVerify !== true });
  try {
    return withoutMissingFiles(checkpoint, onLoss);
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}
