// SPDX-License-Identifier: Apache-2.0
/**
 * What stands in the way of a dump. A refusal that concerns one resource does not end the search: all are found in one
 * run, and told together before anything is written.
 */
import { CrimgError, exitStatus } from "../errors/crimg-error.js";

/** Refusals that leave nothing to search on: the target is gone or cannot be questioned. */
const final: ReadonlySet<string> = new Set([
  "dump.ended",
  "dump.restless",
  "dump.no-room",
  "dump.no-gadget",
  "dump.not-permitted",
  "dump.seccomp-questions",
  "dump.fanotify-permission",
]);

/** True for a refusal of one resource: the others can still be looked at. */
function isBlocker(error: unknown): error is CrimgError {
  return error instanceof CrimgError && error.exit === exitStatus.refused && !final.has(error.code);
}

/** More are counted, not told one by one. */
const mostTold = 100;

export class Blockers {
  readonly #found: CrimgError[] = [];

  /** How many there are. */
  get count(): number {
    return this.#found.length;
  }

  /** Notes a refusal; the search goes on. */
  add(blocker: CrimgError): void {
    this.#found.push(blocker);
  }

  /**
   * The result of `work`, or undefined if it refused: then the refusal is noted. Other errors pass.
   * @throws whatever `work` throws but refusals of one resource
   */
  attempt<Result>(work: () => Result): Result | undefined {
    try {
      return work();
    } catch (error) {
      if (!isBlocker(error)) throw error;
      this.add(error);
      return undefined;
    }
  }

  /**
   * Ends the dump if anything stands in its way.
   * @throws CrimgError the one refusal, or `dump.blocked` with all of them as `parts`
   */
  assertNone(): void {
    const [first, second] = this.#found;
    if (first === undefined) return;
    if (second === undefined) throw first;
    throw new CrimgError(
      "dump.blocked",
      `${this.#found.length} reasons prevent this dump; the program continues`,
      { parts: this.#found.slice(0, mostTold) },
      exitStatus.refused,
    );
  }
}
