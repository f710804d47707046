// SPDX-License-Identifier: Apache-2.0
/** A dump that writes nothing: the tree is frozen, everything about it is collected, and it goes on. */
import { assertDumpable } from "../../dump/admission.js";
import { collect } from "../../dump/collect.js";
import { collectDescriptors } from "../../dump/fds/collect.js";
import { FrozenTree } from "../../dump/freeze.js";
import { parseIgnored } from "../../dump/refusal.js";
import { programOf } from "../../dump/restore-process.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { setLog } from "../../errors/log.js";
import { traceCalls } from "../../native/call-log.js";
import { programVersion } from "../version.js";
import { type CallCount, CallCounts, recordSteps } from "./recorder.js";
import { frozenText, modelText } from "./words.js";

export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export interface Trial {
  readonly steps: readonly { readonly ms: number; readonly text: string }[];
  /** What a dump would refuse; none if it would succeed. */
  readonly refusals: readonly Refusal[];
  readonly losses: readonly { readonly code: string; readonly text: string }[];
  readonly calls: readonly CallCount[];
}

/** Freezes and collects a tree, and lets it go. Whatever fails is part of the result. */
export function tryDump(given: number, ignore: readonly string[]): Trial {
  const counts = new CallCounts();
  const steps: { ms: number; text: string }[] = [];
  const sink = recordSteps((ms, text) => steps.push({ ms: Math.round(ms * 10) / 10, text }), counts);
  const ignored = parseIgnored(ignore, false);
  let refusals: readonly Refusal[] = [];
  let losses: Trial["losses"] = [];
  setLog(sink);
  traceCalls();
  try {
    assertDumpable(given);
    const { pid } = programOf(given);
    const tree = FrozenTree.freeze(pid, { noTree: false });
    try {
      sink.step(frozenText(tree));
      const collection = collect(tree, {
        ignored,
        creator: programVersion(),
        collectDescriptors: (context) => collectDescriptors(context, {}),
      });
      sink.step(`collected: ${modelText(collection.checkpoint)}`);
      losses = collection.checkpoint.tables.losses.map(({ code, text }) => ({ code, text }));
      collection.close();
    } finally {
      tree.release();
      sink.step("the tree goes on");
    }
  } catch (error) {
    refusals = refusalsOf(error);
  } finally {
    setLog(undefined);
  }
  return { steps, refusals, losses, calls: counts.list() };
}

function refusalsOf(error: unknown): Refusal[] {
  if (!(error instanceof CrimgError)) throw error;
  return (error.parts ?? [error]).map(({ code, message, hint }) => ({ code, message, ...(hint === undefined ? {} : { hint }) }));
}
