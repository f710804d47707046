// SPDX-License-Identifier: Apache-2.0
/** freeze → collect: the part of a dump in which the tree stands still, whatever becomes of it. */
import type { CgroupMode } from "../../gen/tables.js";
import { collect, type CollectOptions } from "../../dump/collect.js";
import { collectDescriptors } from "../../dump/fds/collect.js";
import type { DescriptorOptions } from "../../dump/fds/context.js";
import { areMany } from "../../dump/fds/room.js";
import { EarlyMappings } from "../../dump/early-mappings.js";
import { FrozenTree } from "../../dump/freeze.js";
import { hurry } from "../../dump/hurry.js";
import { lookAhead, lookOnce } from "../../dump/look-ahead.js";
import { isPaged, untilThere } from "../../dump/paged.js";
import { pinToSleeper } from "../../dump/pin.js";
import type { Ignored } from "../../dump/refusal.js";
import { logStep } from "../../errors/log.js";
import type { DumpOptions } from "../options.js";
import { frozenText } from "../report/words.js";
import { programVersion } from "../version.js";
import { HeldTree, staleness } from "./held-tree.js";
import type { Preparation } from "./preparation.js";

export interface FreezeOptions extends DumpOptions, Pick<DescriptorOptions, "order"> {
  readonly ignored: Ignored;
  /** Throws if the dump is to end. */
  readonly check: () => void;
}

/**
 * Freezes the tree and collects it; what was resumed lazily a moment ago is let go once more, until its memory is there.
 * On failure nothing is held.
 */
export async function freeze(pid: number, prepared: Preparation, options: FreezeOptions): Promise<HeldTree> {
  const calm = options.after === "leave-running" ? hurry() : (): void => undefined;
  try {
    return await freezeCalmly(pid, prepared, options, calm);
  } catch (error) {
    calm();
    throw error;
  }
}

async function freezeCalmly(pid: number, prepared: Preparation, options: FreezeOptions, calm: () => void): Promise<HeldTree> {
  const { way } = prepared;
  const looksWhileFrozen = way === "store-frozen";
  const [creator, isForLater] = [programVersion(), areMany(options.order)];
  let gadgets = isForLater ? undefined : lookAhead(pid, prepared.maps);
  options.order?.settle();
  if (way === "let-go" && !isForLater) lookOnce(pid);
  for (let { readEarly } = prepared; ; readEarly &&= () => EarlyMappings.read(pid)) {
    const early = readEarly?.();
    pinToSleeper(pid);
    const frozenAt = performance.now();
    const tree = FrozenTree.freeze(pid, { noTree: !options.isTree });
    options.order?.beginLook(tree.processes.length === 1);
    prepared.preCopy?.beginScan();
    logStep(() => frozenText(tree));
    try {
      // While another thread looks at the descriptors.
      if (isForLater) gadgets ??= lookAhead(pid, prepared.maps);
      const collection = collect(tree, {
        ignored: options.ignored,
        creator,
        gadgets,
        early,
        mayLetGo: way === "let-go",
        looksWhileFrozen,
        ...cgroupsToKeep(options),
        ...(options.clock === undefined ? {} : { clock: options.clock }),
        isLazy: options.isLazy === true,
        ...(options.externalMounts === undefined ? {} : { externalMounts: options.externalMounts }),
        collectDescriptors: (context) => collectDescriptors(context, options),
      });
      return new HeldTree({ pid, frozenAt, tree, collection, early, looksWhileFrozen, calm });
    } catch (error) {
      const stale = looksWhileFrozen ? staleness(early, error) : undefined;
      tree.release();
      if (stale !== undefined) throw stale;
      if (!isPaged(error)) throw error;
      await untilThere(
        tree.processes.map((process) => process.pid),
        error,
        options.check,
      );
    }
  }
}

/** Nothing without --manage-cgroups. */
function cgroupsToKeep({ manageCgroups, cgroupRoot }: DumpOptions): Pick<CollectOptions, "cgroups"> {
  if (manageCgroups === undefined || manageCgroups === "ignore") return {};
  return { cgroups: { mode: manageCgroups as CgroupMode, roots: cgroupRoot ?? [] } };
}
