// SPDX-License-Identifier: Apache-2.0
/** Ctrl-C during long work: noted when it comes, acted upon between two pieces of the work. */
import { CrimgError, exitStatus } from "../errors/crimg-error.js";

/** Listens for SIGINT, SIGTERM and SIGHUP from its making until `close`, unless the caller handles them (`isOff`). */
export class InterruptGuard {
  #signal: NodeJS.Signals | undefined;
  readonly #listener = (signal: NodeJS.Signals): void => {
    this.#signal ??= signal;
  };

  constructor(isOff = false) {
    if (isOff) return;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, this.#listener);
  }

  /** Throws CrimgError `interrupted` if a signal has come. `what` was being done. */
  check(what: string): void {
    if (this.#signal === undefined) return;
    throw new CrimgError(
      "interrupted",
      `${what}: ended by ${this.#signal}`,
      {},
      this.#signal === "SIGINT" ? exitStatus.interrupted : exitStatus.terminated,
    );
  }

  close(): void {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, this.#listener);
  }
}
