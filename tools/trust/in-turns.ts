// SPDX-License-Identifier: Apache-2.0
/** Runs trials, a few at a time. */
import { availableParallelism } from "node:os";

export async function inTurns<T>(trials: readonly T[], run: (trial: T, number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < trials.length) {
      const number = next;
      next += 1;
      await run(trials[number] as T, number);
    }
  };
  await Promise.all(Array.from({ length: Math.min(8, availableParallelism()) }, lane));
}
