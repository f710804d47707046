/** Progress of long work on a terminal: bytes, rate, time left. Quiet where standard error is no terminal. */
import type { Terminal } from "./terminal.js";

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `1.5 GiB`. */
export function formatBytes(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

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
      terminal.say(
        `\r\u001b[Kcrimg: ${verb} ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)} (${percent}%), ` +
          `${formatBytes(BigInt(Math.round(rate)))}/s, ${left} s left`,
      );
    },
    end() {
      if (isShown) terminal.say("\r\u001b[K");
      isShown = false;
    },
  };
}
