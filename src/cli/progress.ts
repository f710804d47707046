// SPDX-License-Identifier: Apache-2.0
/** Progress of long work on a terminal: bytes, rate, time left. Quiet where standard error is no terminal. */
import { formatBytes } from "../ops/units.js";
import type { Terminal } from "./terminal.js";

export interface Progress {
  update(doneBytes: bigint, totalBytes: bigint): void;
  /** Wipes the line. */
  end(): void;
}

const firstAfterMs = 300;
const everyMs = 100;

/** A progress line for `verb`, such as "converting". `now` is in milliseconds. */
export function progressOn(terminal: Terminal, verb: string, now: () => number = Date.now): Progress {
  const start = now();
  let last = start;
  let isShown = false;
  return {
    update(doneBytes, totalBytes) {
      const time = now();
      if (!terminal.errIsTerminal || time - start < firstAfterMs || time - last < everyMs) return;
      last = time;
      isShown = true;
      const seconds = (time - start) / 1000;
      const rate = Number(doneBytes) / seconds;
      const left = rate > 0 ? Math.ceil(Number(totalBytes - doneBytes) / rate) : 0;
      const percent = totalBytes > 0n ? Number((doneBytes * 100n) / totalBytes) : 100;
      terminal.note(
        `\r\u001b[Kcrimg: ${verb} ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)} (${percent}%), ` +
          `${formatBytes(BigInt(Math.round(rate)))}/s, ${left} s left`,
      );
    },
    end() {
      if (isShown) terminal.note("\r\u001b[K");
      isShown = false;
    },
  };
}
