// SPDX-License-Identifier: Apache-2.0
/**
 * SEM_UNDO: what the kernel adds to a semaphore when a process ends. No call tells it, but semop checks the range of an
 * adjustment (ERANGE beyond 32767 or below -32768) before it finds that a later operation of the same call would have to
 * wait (EAGAIN with IPC_NOWAIT), and then takes everything back, without a trace or a wakeup (perform_atomic_semop_slow
 * in the kernel's ipc/sem.c). So calls that always fail find the adjustment: by which amount it would overflow.
 */
import { errno } from "../../linux/errno.js";
import { IPC, largestSemaphore, SEM, type SemaphoreOperation, semaphoreOperations } from "../../linux/sysv-ipc.js";
import { endTrainee, kcmpType, startTrainee, tryKcmp } from "../../native/index.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import type { Injector } from "../injector.js";

/** An adjustment that is not 0. */
export interface Undo {
  readonly number: number;
  readonly adjustment: number;
}

/** SEMOPM is 500 by default, and may be less: a set is asked in parts. */
const perCall = 16;

/** Which processes have a list of adjustments at all; every process with threads has one, though perhaps an empty one. */
export class UndoLists {
  /** A process of crimg's own that has none; −errno where it could not be started: then every process is asked. */
  #without: number | undefined;

  constructor(private readonly context: DumpContext) {}

  /** False if it surely has none. A process that has had no thread and made no such operation has no list. */
  mayHave({ pid, frozen }: DumpedProcess): boolean {
    if (frozen.isZombie) return false;
    this.#without ??= startTrainee();
    return this.#without < 0 || tryKcmp(pid, this.#without, kcmpType.SYSVSEM) !== 0;
  }

  /** Whether threads of a process have different lists, or another process has its list (clone(2) without or with CLONE_SYSVSEM). */
  isSplit({ pid, frozen }: DumpedProcess): boolean {
    const isSame = (other: number): boolean => tryKcmp(pid, other, kcmpType.SYSVSEM) === 0;
    const others = this.context.processes.filter((process) => process.pid !== pid && !process.frozen.isZombie);
    return frozen.threads.some(({ tid }) => !isSame(tid)) || others.some((other) => isSame(other.pid));
  }

  close(): void {
    if (this.#without !== undefined && this.#without > 0) endTrainee(this.#without);
    this.#without = undefined;
  }
}

/** Adjustments of a process on a set with these values; undefined where it may not operate on it. */
export function readUndos(injector: Pick<Injector, "call">, id: number, values: ArrayLike<number>): Undo[] | undefined {
  const undos: Undo[] = [];
  for (let first = 0; first < values.length; first += perCall) {
    const numbers = Array.from({ length: Math.min(perCall, values.length - first) }, (_, index) => first + index);
    const at = (number: number): number => values[number] ?? 0;
    const allNotAbove = ask(
      injector,
      id,
      numbers.flatMap((number) => down(number, at(number), largestSemaphore)),
    );
    const allNotBelow = ask(
      injector,
      id,
      numbers.flatMap((number) => up(number, at(number), largestSemaphore + 1)),
    );
    if (allNotAbove === undefined || allNotBelow === undefined) return undefined;
    if (allNotAbove && allNotBelow) continue;
    for (const number of numbers) {
      const adjustment = search(injector, id, number, at(number));
      if (adjustment !== 0) undos.push({ number, adjustment });
    }
  }
  return undos;
}

/** The adjustment of one semaphore. */
function search(injector: Pick<Injector, "call">, id: number, number: number, value: number): number {
  // One that is below 0 overflows downwards first: by 32768 + a, and one above 0 upwards by 32767 - a.
  const most = (fits: (amount: number) => boolean, limit: number): number => {
    let [low, high] = [0, limit];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (fits(middle)) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const upward = most((amount) => ask(injector, id, down(number, value, amount)) === true, largestSemaphore);
  if (upward < largestSemaphore) return largestSemaphore - upward;
  return most((amount) => ask(injector, id, up(number, value, amount)) === true, largestSemaphore + 1) - largestSemaphore - 1;
}

/** Operations that would raise the adjustment by `amount` (0 to 32767): the value is brought to its largest before. */
function down(number: number, value: number, amount: number): SemaphoreOperation[] {
  return operations(number, [largestSemaphore - value, 0], [-amount, SEM.undo]);
}

/** Operations that would lower the adjustment by `amount` (0 to 32768). */
function up(number: number, value: number, amount: number): SemaphoreOperation[] {
  const first = Math.min(amount, largestSemaphore);
  return operations(number, [-value, 0], [first, SEM.undo], [-first, 0], [amount - first, SEM.undo]);
}

/** Without those that change nothing: 0 would wait until the value is 0. */
function operations(number: number, ...changes: readonly (readonly [number, number])[]): SemaphoreOperation[] {
  return changes.flatMap(([change, flags]) => (change === 0 ? [] : [{ number, change, flags: flags | IPC.nowait }]));
}

/** Whether adjustments would stay in range. The call always fails; undefined if for another reason. */
function ask(injector: Pick<Injector, "call">, id: number, asked: readonly SemaphoreOperation[]): boolean | undefined {
  // Two of these cannot both succeed, so the call never does.
  const last = { number: asked.at(-1)?.number ?? 0, change: -largestSemaphore, flags: IPC.nowait };
  const bytes = semaphoreOperations([...asked, last, last]);
  const result = injector.call("semop", id, { in: bytes }, asked.length + 2);
  if (result === -errno.EAGAIN) return true;
  return result === -errno.ERANGE ? false : undefined;
}
