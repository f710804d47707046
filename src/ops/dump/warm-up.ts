// SPDX-License-Identifier: Apache-2.0
/**
 * Practice before a dump. Code that runs for the first time takes V8 several times as long as later: functions are compiled,
 * and learn which objects they meet. While a program stands still that would be half of the time of a small dump. So all of
 * it is done once beforehand with a process of crimg's own, while the program still runs.
 *
 * It changes nothing but time: whatever fails in it is forgotten, and what it found is thrown away.
 */
import { tmpdir } from "node:os";
import { collect, type Collection, type Later } from "../../dump/collect.js";
import { collectDescriptors } from "../../dump/fds/collect.js";
import { EarlyMappings } from "../../dump/early-mappings.js";
import { forkSnapshot } from "../../dump/fork-snapshot.js";
import { FrozenTree } from "../../dump/freeze.js";
import { quietly } from "../../errors/log.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { endTrainee, startTrainee, tryKill, uncounted } from "../../native/index.js";
import { detach } from "./snapshot.js";

const SIGKILL = 9;

/** What is practised. */
export interface WarmUp {
  /** The tree will run on from a snapshot. */
  readonly isDetached: boolean;
  /** The snapshot may be a fork. */
  readonly mayFork: boolean;
  /** The tree will run on before it is collected. */
  readonly isLetGo?: boolean;
  /** Then nothing that follows is practised: nobody waits for it. */
  readonly endsWhenGone?: boolean;
  /** Takes what can be done when the dump is over: to wait for the end of a process. */
  readonly later?: Later;
}

/**
 * Makes everything that happens while a tree stands still happen once.
 * @returns what was found, whose pages cannot be read any more; undefined where the practice failed
 */
export function warmUp(what: WarmUp): Promise<Checkpoint | undefined> {
  return quietly(() => uncounted(() => practise(what)));
}

/** The same, counted and logged. */
export async function practise(what: WarmUp): Promise<Checkpoint | undefined> {
  const pid = startTrainee();
  if (pid < 0) return undefined;
  let tree: FrozenTree | undefined;
  let collection: Collection | undefined;
  try {
    const { isLetGo, endsWhenGone = false } = what;
    const early = isLetGo === true ? ({ mayLetGo: "practise", early: EarlyMappings.read(pid), endsWhenGone } as const) : {};
    tree = FrozenTree.freeze(pid);
    collection = collect(tree, { ...early, creator: "", collectDescriptors: (context) => collectDescriptors(context) });
    if (what.isDetached && collection.gone === undefined) await practiseDetaching(collection, what);
    return collection.checkpoint;
  } catch {
    // The dump itself will say what is wrong.
    return undefined;
  } finally {
    collection?.context.releaseHeld();
    close(collection, what.later);
    tree?.release();
    if (what.later === undefined) endTrainee(pid);
    else {
      tryKill(pid, SIGKILL);
      what.later(() => endTrainee(pid));
    }
  }
}

function close(collection: Collection | undefined, later: Later | undefined): void {
  try {
    collection?.close(later);
  } catch {
    // It is going to be ended in any case.
  }
}

async function practiseDetaching(collection: Collection, { mayFork }: WarmUp): Promise<void> {
  const [process] = collection.context.processes;
  if (mayFork && process !== undefined) {
    const fork = forkSnapshot(process);
    try {
      fork.settle();
    } finally {
      fork.end();
    }
  }
  (await detach(collection, { folder: tmpdir(), mayFork, watch: {} }))?.close();
}
