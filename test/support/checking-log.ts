// SPDX-License-Identifier: Apache-2.0
/** Logs of programs that check their memory all the time: a line each time it is right, "BAD ..." when it is not. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { until } from "./processes.js";

export const linesOf = (log: string): string[] => (existsSync(log) ? readFileSync(log, "utf8").split("\n") : []);

/** Waits until it has gone on; fails as soon as a byte is wrong. */
export async function goesOn(log: string, lines = 2, seconds = 60): Promise<void> {
  const before = linesOf(log).length;
  const isOn = (): boolean => {
    const now = linesOf(log);
    assert.deepEqual(
      now.filter((line) => line.startsWith("BAD")),
      [],
    );
    return now.length >= before + lines;
  };
  await until("the program goes on", isOn, seconds);
}
