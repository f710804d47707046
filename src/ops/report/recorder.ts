// SPDX-License-Identifier: Apache-2.0
/** What listens to the log: steps with the time since the beginning, and how often each system call was made. */
import type { LogSink } from "../../errors/log.js";
import { errnoName } from "../../linux/errno.js";

export interface CallCount {
  readonly by: "crimg" | "tree";
  readonly name: string;
  readonly count: number;
  /** How often it failed, by errno. */
  readonly errors: Readonly<Record<string, number>>;
}

export class CallCounts {
  readonly #counts = new Map<string, { by: "crimg" | "tree"; name: string; count: number; errors: Record<string, number> }>();

  add(by: "crimg" | "tree", name: string, result: number | bigint): void {
    const key = `${by} ${name}`;
    const entry = this.#counts.get(key) ?? { by, name, count: 0, errors: {} };
    this.#counts.set(key, entry);
    entry.count += 1;
    if (result >= 0 || result < -4095) return;
    const error = errnoName(-Number(result));
    entry.errors[error] = (entry.errors[error] ?? 0) + 1;
  }

  /** The most frequent first. */
  list(): CallCount[] {
    return [...this.#counts.values()].sort((a, b) => b.count - a.count);
  }

  /** `openat 12 (ENOENT 3)`; with "in the tree" for those that the tree made. */
  lines(): string[] {
    return this.list().map(({ by, name, count, errors }) => {
      const failures = Object.entries(errors).map(([error, times]) => `${error} ${times}`);
      return `${name}${by === "tree" ? " in the tree" : ""} ${count}${failures.length === 0 ? "" : ` (${failures.join(", ")})`}`;
    });
  }
}

/** A listener that passes steps on with the milliseconds since now, and counts calls. */
export function recordSteps(step: (ms: number, text: string) => void, counts: CallCounts): LogSink {
  const start = performance.now();
  return {
    step: (text) => step(performance.now() - start, text),
    call: (by, name, result) => counts.add(by, name, result),
  };
}
