// SPDX-License-Identifier: Apache-2.0
/**
 * When the image of a tree does not need it any more. With `--leave-running` that is as early as can be: see `Way`; what becomes of
 * the mappings that were read before the freeze, and have to be confirmed, depends on it.
 */
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { CopyWatch } from "../../model/page-source.js";
import { detach, detachedAlready, type DetachedCheckpoint } from "./snapshot.js";
import type { HeldTree } from "./held-tree.js";
import type { Preparation } from "./preparation.js";
import { writing } from "./writing.js";

/** What the image is made from. */
export interface Content {
  readonly checkpoint: Checkpoint;
  /** To be called when all pages are in the image, if the tree runs on then. */
  readonly onStored?: () => void;
  /** Lets go of what keeps it. */
  readonly close: () => void;
}

export interface RunOnOptions {
  /** Final path of the image. */
  readonly output: string;
  readonly mayFork: boolean;
  /** It stands still until its image is complete, whatever has been prepared. */
  readonly isHeld: boolean;
  readonly watch: CopyWatch;
}

/**
 * Lets a tree run on if it may, or arranges for it.
 * @throws what copying its memory throws, StaleMappings
 */
export async function runOn(held: HeldTree, prepared: Preparation, options: RunOnOptions): Promise<Content> {
  const { collection, early, pid } = held;
  const { way, preCopy } = prepared;
  if (way === "store-frozen" && early !== undefined) {
    const onStored = (): void => {
      early.confirm();
      held.letRun();
    };
    return { checkpoint: collection.checkpoint, onStored, close: () => undefined };
  }
  const detached = way === "hold" || options.isHeld ? undefined : await detachTree(held, prepared, options);
  // Whoever was let go before is being looked at, by its fork; so will be others that have one.
  const fork = detached?.forkOf(pid);
  const isPreCopied = detached?.isPreCopied === true;
  if (fork === undefined && !isPreCopied) {
    early?.look(pid);
    early?.confirm();
  }
  if (detached === undefined) return { checkpoint: collection.checkpoint, close: () => undefined };
  held.letRun();
  preCopy?.letGo();
  detached.settle();
  if (isPreCopied) early?.lookAgain();
  else if (fork !== undefined && collection.gone === undefined) early?.look(fork);
  return detached;
}

function detachTree(
  { collection, early, pid }: HeldTree,
  { preCopy }: Preparation,
  { output, mayFork, watch }: RunOnOptions,
): Promise<DetachedCheckpoint | undefined> {
  const { gone } = collection;
  if (gone !== undefined) return Promise.resolve(detachedAlready(collection, gone, pid));
  const folder = output === "-" ? tmpdir() : dirname(resolve(output));
  const beforeEnd = (mayWait: boolean): boolean => early?.awaitLook(mayWait) ?? true;
  return writing(output, detach(collection, { folder, mayFork, watch, beforeEnd, preCopy }));
}
