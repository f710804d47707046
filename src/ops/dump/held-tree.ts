// SPDX-License-Identifier: Apache-2.0
/**
 * A tree that has been frozen and collected, until it runs on, ends or stays stopped. Whoever holds it owes it one of these;
 * `abandon` is for all that goes wrong.
 */
import type { Collection } from "../../dump/collect.js";
import type { DumpContext } from "../../dump/context.js";
import { disownChildren } from "../../dump/disown.js";
import type { EarlyMappings } from "../../dump/early-mappings.js";
import type { FrozenTree } from "../../dump/freeze.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { logStep } from "../../errors/log.js";
import { untilReaped, untilStopped } from "./waits.js";

export interface Held {
  readonly pid: number;
  /** When it was frozen, milliseconds of performance.now(). */
  readonly frozenAt: number;
  readonly tree: FrozenTree;
  readonly collection: Collection;
  /** What was read of its mappings before, and has to be confirmed. */
  readonly early: EarlyMappings | undefined;
  /** Whether these are being looked at while it stands still. */
  readonly looksWhileFrozen: boolean;
  /** Undoes what was done so that it stands still for less time. */
  readonly calm: () => void;
}

/** Wait for the end of the root, milliseconds, and the bytes of pages from which it would be in vain. */
const rootEndMs = 20;
const longToFree = 128n << 20n;

export class HeldTree {
  /** Undefined once it has been closed. */
  #collection: Collection | undefined;
  #frozenMs: number | undefined;

  constructor(private readonly held: Held) {
    this.#collection = held.collection;
  }

  get pid(): number {
    return this.held.pid;
  }

  get tree(): FrozenTree {
    return this.held.tree;
  }

  get collection(): Collection {
    return this.held.collection;
  }

  get context(): DumpContext {
    return this.held.collection.context;
  }

  get early(): EarlyMappings | undefined {
    return this.held.early;
  }

  /** Whether it stands still. */
  get isHeld(): boolean {
    return this.#frozenMs === undefined;
  }

  /** How long it stood still, or has until now, milliseconds. */
  get frozenMs(): number {
    return this.#frozenMs ?? performance.now() - this.held.frozenAt;
  }

  /** Lets go of what reads it, for good: its image is written. */
  closeCollection(): void {
    this.#collection?.close();
    this.#collection = undefined;
  }

  /** It runs on: its image does not need it any more. */
  letRun(): void {
    const { gone } = this.held.collection;
    // Whoever was let go while it was collected runs on already, and what is left of the collection is about its fork.
    if (gone === undefined) {
      this.#collection?.close();
      this.#giveBack();
      this.tree.release();
      logStep(() => "the tree runs on");
    }
    this.#collection = undefined;
    this.#isOver(gone?.at);
  }

  /**
   * It stays stopped.
   * @param ownThreads threads that must run while the others do not
   * @param between what is done when only these run
   */
  async letStop(ownThreads: readonly number[], between: () => Promise<void>): Promise<void> {
    this.#giveBack();
    this.tree.releaseThreads(ownThreads);
    await between();
    this.tree.release(true);
    await untilStopped(this.tree);
    this.#isOver();
  }

  /**
   * It ends, children first, so that no zombie of it keeps a pid.
   * @param pageBytes bytes of its image
   * @param waiters who waits for it and ends as it does
   */
  async end(pageBytes: bigint, waiters: readonly number[]): Promise<void> {
    // From here on the image is whole: should crimg die now, the tree dies with it rather than go on half disowned.
    this.tree.endWithTracer();
    this.context.beforeKill();
    try {
      disownChildren(this.context.processes);
    } catch {
      // Zombies may stay until the first process of the system waits for them: no reason not to end the tree.
    }
    const haveEnded = this.tree.kill(pageBytes < longToFree ? rootEndMs : 0);
    this.context.releaseHeld();
    this.#isOver();
    if (haveEnded) await untilReaped(this.tree, waiters);
  }

  /**
   * Puts it back; what fails on the way matters less than the error that brought us here.
   * @returns the error to throw: another one if what was read before the freeze was not so any more, and may be the reason
   */
  abandon(error: unknown): unknown {
    const mayBeStale = this.held.looksWhileFrozen && this.#collection !== undefined;
    const reason = (mayBeStale ? staleness(this.early, error) : undefined) ?? error;
    this.context.releaseHeld();
    try {
      this.context.giveBack();
    } catch {
      // Events of a watched directory are less than a program that stands still.
    }
    try {
      this.#collection?.close();
    } catch {
      // The thread returns to its old state by itself once it is let go.
    }
    this.tree.release();
    this.held.calm();
    logStep(() => "the tree goes on as it was");
    return reason;
  }

  #giveBack(): void {
    this.context.giveBack();
    this.context.releaseHeld();
  }

  #isOver(at = performance.now()): void {
    this.#frozenMs ??= at - this.held.frozenAt;
    this.held.calm();
  }
}

/** That mappings were not as they had been before, if that may have led to an error. */
export function staleness(early: EarlyMappings | undefined, error: unknown): Error | undefined {
  return error instanceof CrimgError && error.code === "interrupted" ? undefined : early?.staleness();
}
