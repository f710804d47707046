// SPDX-License-Identifier: Apache-2.0
/** System V semaphore sets: those on which a process of the tree operated last, or at which one waits. */
import { type MutableTables, semaphoreUndoRow, sysvSemaphoresFlagsBits, sysvSemaphoresRow } from "../../gen/tables.js";
import { IPC, SEM } from "../../linux/sysv-ipc.js";
import { failed, tryCall } from "../../native/index.js";
import type { DumpContext } from "../context.js";
import { identityOf, listSystemV } from "./listing.js";
import { readUndos, UndoLists } from "./undo.js";
import { type SystemVUsers, systemVName, tellOutside } from "./users.js";

/** Bytes of unsigned 4-byte numbers. */
function u4s(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

export function collectSemaphores(context: DumpContext, users: SystemVUsers): void {
  const { tables } = context;
  const lists = new UndoLists(context);
  try {
    for (const set of listSystemV("sem")) {
      const { id } = set;
      const pids = lastUsers(id, set.column("nsems"));
      if (!users.waitedSets.has(id) && !pids.some((pid) => users.isOurs(pid))) continue;
      const name = systemVName("semaphore set", set);
      const values = new Uint16Array(pids.length);
      if (failed(tryCall("semctl", id, 0, SEM.getall, values))) {
        context.leaveOut("semaphores", `${name}, which the tree uses, may not be read`);
        continue;
      }
      const isOutside = pids.some((pid) => users.isOutside(pid));
      if (isOutside) tellOutside(context, name, "used");
      const row =
        tables.sysvSemaphoreSets.push(
          sysvSemaphoresRow({
            ...identityOf(set),
            flags: isOutside ? sysvSemaphoresFlagsBits.outside : 0,
            values: u4s([...values]),
            pids: u4s(pids.map((pid) => users.asSeen(pid))),
          }),
        ) - 1;
      collectUndos(context, tables, lists, { row, id, name, values });
    }
  } finally {
    lists.close();
  }
}

/** sempid of each semaphore of a set. */
function lastUsers(id: number, count: number): number[] {
  return Array.from({ length: count }, (_, number) => {
    const pid = tryCall("semctl", id, number, SEM.getpid, IPC.rmid);
    return failed(pid) ? 0 : pid;
  });
}

interface SetWithValues {
  readonly row: number;
  readonly id: number;
  readonly name: string;
  readonly values: Uint16Array;
}

function collectUndos(context: DumpContext, tables: MutableTables, lists: UndoLists, { row, id, name, values }: SetWithValues): void {
  for (const process of context.processes) {
    if (!lists.mayHave(process)) continue;
    const whose = `process ${process.pid} (${process.name})`;
    const undos = readUndos(process.injector(), id, values);
    if (undos === undefined) {
      context.leaveOut("semaphore-undo", `${whose}: it may have operations on ${name} to undo (SEM_UNDO), and may not operate on it now`);
      continue;
    }
    for (const { number, adjustment } of undos) {
      tables.semaphoreUndos.push(semaphoreUndoRow({ set: row, task: process.row, number, adjustment }));
    }
    if (undos.length > 0 && lists.isSplit(process)) {
      context.leaveOut("semaphore-undo", `${whose}: it has operations on ${name} to undo, in a list that not just its own threads share`);
    }
  }
}
