// SPDX-License-Identifier: Apache-2.0
/** A child of crimg's own: to practise a dump on, and to compare others with (native/addon/trainee.h). */
import { addon } from "./addon.js";

/** Starts it: a sleeping process with a mapped file, a pipe and /dev/null. Returns its pid, or −errno. */
export function startTrainee(): number {
  return addon().startTrainee();
}

/** Ends it and waits for its end. */
export function endTrainee(pid: number): void {
  addon().endTrainee(pid);
}

/** What is done meanwhile does not count as calls of which tests may let one fail. */
export async function uncounted<Result>(work: () => Promise<Result>): Promise<Result> {
  addon().pauseCounting(true);
  try {
    return await work();
  } finally {
    addon().pauseCounting(false);
  }
}
