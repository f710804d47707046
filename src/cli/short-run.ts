// SPDX-License-Identifier: Apache-2.0
/**
 * Fewer functions compiled by V8's optimizing compiler in a dump of much. It takes 10 to 30 ms for each of the functions that
 * handle thousands of rows, on the second of two processors, and is mostly done with one when its loop is over. Without that
 * ten thousand mappings take 300 ms in place of 360, two hundred processes 720 in place of 870. Ten thousand threads take 3 %
 * longer. Not in the library, whose caller has other things to do as well.
 */
import { listChildren, procPath, readStatus } from "../dump/procfs.js";
import { tryReadInto } from "../native/index.js";

/** Bytecodes, weighted, until a function counts as hot: nine times V8's own. */
const budget = "--interrupt-budget=600000";

/** From where on it pays to load node:v8, of 1.5 ms: bytes of maps, threads, descriptors. */
const many = { maps: 1 << 14, threads: 32, descriptors: 256 };

/** Tells V8 that this process, which is going to dump another, will not run for long; where there is little to do not even that. */
export async function expectShortRun(pid: number): Promise<void> {
  if (!hasMuch(pid)) return;
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString(budget);
}

function hasMuch(pid: number): boolean {
  const status = readStatus(procPath(pid));
  if (status === undefined) return false;
  const atLeast = (field: string, number: number): boolean => Number(status.get(field) ?? 0) >= number;
  if (atLeast("Threads", many.threads) || atLeast("FDSize", 2 * many.descriptors)) return true;
  if ((listChildren(pid, pid)?.length ?? 0) > 0) return true;
  return tryReadInto(`${procPath(pid)}/maps`, Buffer.allocUnsafe(many.maps)) === undefined;
}
