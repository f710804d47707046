// SPDX-License-Identifier: Apache-2.0
/**
 * What crimg does, step by step, for those who ask (`-v`, `crimg report`). A step may name processes, files and numbers; it
 * never holds memory, registers, arguments or environments, since a log is meant to be sent to others.
 */

/** Who listens. */
export interface LogSink {
  /** One step, as a clause without a full stop. */
  step(text: string): void;
  /** A system call of crimg's own, or one that it had a process of the tree make (`by`). */
  call(by: "crimg" | "tree", name: string, result: number | bigint): void;
}

let sink: LogSink | undefined;

/** Sends the log somewhere, or nowhere. */
export function setLog(to: LogSink | undefined): void {
  sink = to;
}

/** Does something that nobody is told of. */
export async function quietly<Result>(work: () => Promise<Result>): Promise<Result> {
  const before = sink;
  sink = undefined;
  try {
    return await work();
  } finally {
    sink = before;
  }
}

/** Notes a step. The text is made only if somebody listens. */
export function logStep(text: () => string): void {
  sink?.step(text());
}

/** Notes a system call: its name, and its result or −errno. */
export function logCall(by: "crimg" | "tree", name: string, result: number | bigint): void {
  sink?.call(by, name, result);
}

/** Whether somebody listens. */
export function isLogged(): boolean {
  return sink !== undefined;
}
