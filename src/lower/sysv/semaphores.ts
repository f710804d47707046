// SPDX-License-Identifier: Apache-2.0
/**
 * System V semaphores. Sets that only the tree uses get the values of the dump, by operations of helpers with the ids
 * that operated last (sempid). Sets that others use too stay as they are; only what is to be undone at the end (SEM_UNDO)
 * is done again, as it was taken back when the tree ended.
 */
import type { SemaphoreUndoRow, SysvSemaphoresRow } from "../../gen/tables.js";
import { sysvSemaphoresFlagsBits as bits } from "../../gen/tables.js";
import {
  IPC,
  ipcOffset,
  ipcStructSize,
  largestSemaphore,
  SEM,
  type SemaphoreOperation,
  semaphoreOperations,
} from "../../linux/sysv-ipc.js";
import type { Lowering } from "../lowering.js";
import type { Shared, Slot } from "../operands.js";
import { findObject, makeObject, setOwner, systemVName } from "./make.js";

/** SEMOPM is 500 by default. */
const perCall = 100;
/** How long an operation that is done again waits for what others hold. */
const patience = 10n;

/** Unsigned numbers of 4 bytes. */
function u4sOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 2 }, (_, index) => view.getUint32(index * 4, true));
}

export class SemaphoreLowering {
  /** 1 where the set was there and was left as it is. */
  readonly #isLeft: readonly Slot[];
  readonly #undone: Shared | undefined;
  readonly #undoers: number;

  constructor(private readonly l: Lowering) {
    const { sysvSemaphoreSets, semaphoreUndos } = l.checkpoint.tables;
    this.#isLeft = sysvSemaphoreSets.map((set) => l.builder.slot(`${nameOf(set)} is left as it is`));
    this.#undoers = new Set(semaphoreUndos.map(({ task }) => task)).size;
    this.#undone = this.#undoers === 0 ? undefined : l.builder.counter("operations to undo are done again");
  }

  /** Ops of the first process: all sets. */
  make(): void {
    this.l.checkpoint.tables.sysvSemaphoreSets.forEach((set, index) => this.#makeSet(set, this.#isLeft[index] as Slot));
  }

  #makeSet(set: SysvSemaphoresRow, isLeft: Slot): void {
    const { builder: b } = this.l;
    const name = nameOf(set);
    const values = u4sOf(set.values);
    const [absent, there, done] = [b.label(`${name} is to be made`), b.label(`${name} is there`), b.label(`${name} is done`)];
    const found = findObject(this.l, "sem", set, name, [{ at: ipcOffset.semCount, value: BigInt(values.length) }], absent);
    if ((set.flags & bits.outside) !== 0) {
      b.compute(isLeft, "move", 1);
      b.jump(done);
    } else {
      setOwner(this.l, "sem", set, name, found);
      const zeros = b.bytes(new Uint8Array(2 * values.length));
      b.syscall("semctl", [set.id, 0, SEM.setall, zeros], { message: `set the values of ${name}` });
      b.jump(there);
    }
    b.place(absent);
    makeObject(this.l, "sem", set, name, 0, (mode) => {
      const got = b.slot(`new ${name}`);
      b.syscall("semget", [set.key, values.length, mode], {
        store: got,
        message: `make ${name}`,
        hint: "limits on semaphores are in kernel.sem (sysctl)",
      });
      return got;
    });
    setOwner(this.l, "sem", set, name, b.buffer(ipcStructSize));
    b.place(there);
    for (const [pid, operations] of byLastUser(values, u4sOf(set.pids))) {
      this.l.runAs({ pid, uid: 0, gid: 0, groups: undefined }, () => this.#operate(set, operations));
    }
    b.place(done);
  }

  #operate(set: SysvSemaphoresRow, operations: readonly SemaphoreOperation[]): void {
    const { builder: b } = this.l;
    for (let at = 0; at < operations.length; at += perCall) {
      const part = operations.slice(at, at + perCall);
      b.syscall("semop", [set.id, b.bytes(semaphoreOperations(part)), part.length], { message: `set the values of ${nameOf(set)}` });
    }
  }

  /** Ops of a task when all exist: what is to be undone when it ends. */
  undo(task: number): void {
    const { builder: b, checkpoint } = this.l;
    const { semaphoreUndos, sysvSemaphoreSets } = checkpoint.tables;
    if (this.#undone === undefined) return;
    const rows = semaphoreUndos.filter((row) => row.task === task);
    for (const row of rows) {
      const set = sysvSemaphoreSets[row.set];
      if (set !== undefined) this.#doAgain(set, row, this.#isLeft[row.set] as Slot);
    }
    if (rows.length > 0) b.count(this.#undone);
    this.#operateLast(task);
  }

  #doAgain(set: SysvSemaphoresRow, { number, adjustment }: SemaphoreUndoRow, isLeft: Slot): void {
    const { builder: b } = this.l;
    const [mine, done] = [b.label("a set of the tree's own"), b.label("the operation is done again")];
    const message = `do what is to be undone of semaphore ${number} of ${nameOf(set)} again`;
    b.jumpIf(isLeft, "eq", 0, mine);
    const taken = b.bytes(semaphoreOperations([{ number, change: -adjustment, flags: SEM.undo }]));
    b.syscall("semtimedop", [set.id, taken, 1, b.u8s(patience, 0)], {
      message,
      hint: "another process holds the semaphore now: end that first",
    });
    b.jump(done);
    b.place(mine);
    for (const operations of neutral(number, u4sOf(set.values)[number] ?? 0, adjustment)) {
      b.syscall("semop", [set.id, b.bytes(semaphoreOperations(operations)), operations.length], { message });
    }
    b.place(done);
  }

  /** The operations above count as the last ones: those who were it before operate once more, without an effect. */
  #operateLast(task: number): void {
    const { builder: b, checkpoint } = this.l;
    const { semaphoreUndos, sysvSemaphoreSets, tasks } = checkpoint.tables;
    const concerned = sysvSemaphoreSets.flatMap((set, index) => {
      const numbers = new Set(semaphoreUndos.filter((row) => row.set === index).map(({ number }) => number));
      const pids = u4sOf(set.pids);
      const own = [...numbers].filter((number) => pids[number] === tasks[task]?.pid);
      return own.length === 0 ? [] : [{ set, own, isLeft: this.#isLeft[index] as Slot }];
    });
    if (concerned.length === 0 || this.#undone === undefined) return;
    b.wait(this.#undone, this.#undoers);
    for (const { set, own, isLeft } of concerned) {
      const done = b.label("last operations");
      const values = u4sOf(set.values);
      b.jumpIf(isLeft, "ne", 0, done);
      this.#operate(
        set,
        own.flatMap((number) => idle(number, values[number] ?? 0)),
      );
      b.place(done);
    }
  }
}

function nameOf(set: SysvSemaphoresRow): string {
  return systemVName("semaphore set", set);
}

/** Operations that bring semaphores from 0 to their values, by the process that is to be the last one. Untouched ones need none. */
function byLastUser(values: readonly number[], pids: readonly number[]): Map<number, SemaphoreOperation[]> {
  const operations = new Map<number, SemaphoreOperation[]>();
  values.forEach((value, number) => {
    const pid = pids[number] ?? 0;
    if (pid === 0 && value === 0) return;
    const own = value === 0 ? idle(number, 0) : [{ number, change: value, flags: IPC.nowait }];
    operations.set(pid, [...(operations.get(pid) ?? []), ...own]);
  });
  return operations;
}

/** Two operations that change nothing together. */
function idle(number: number, value: number): SemaphoreOperation[] {
  const first = value < largestSemaphore ? 1 : -1;
  return [first, -first].map((change) => ({ number, change, flags: IPC.nowait }));
}

/** Operations that leave an adjustment, and the value as it is: what counts, and the opposite that does not. */
export function neutral(number: number, value: number, adjustment: number): SemaphoreOperation[][] {
  const calls: SemaphoreOperation[][] = [];
  for (let left = -adjustment; left !== 0; ) {
    // Half of the range, so that there is room on one side of any value.
    const change = Math.max(-(largestSemaphore >> 1), Math.min(largestSemaphore >> 1, left));
    const pair = [
      { number, change, flags: SEM.undo | IPC.nowait },
      { number, change: -change, flags: IPC.nowait },
    ];
    const fits = value + change >= 0 && value + change <= largestSemaphore;
    calls.push(fits ? pair : pair.reverse());
    left -= change;
  }
  return calls;
}
