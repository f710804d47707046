// SPDX-License-Identifier: Apache-2.0
/** Rules about System V IPC. */
import { largestSemaphore } from "../../linux/sysv-ipc.js";
import type { Problem } from "../finding.js";
import { type ModelRule, modelRule } from "../model-context.js";

const tables = ["sysvSegments", "sysvSemaphoreSets", "sysvQueues"] as const;

export const ipcRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "ipc.id",
      facet: "shared-memory",
      summary: "Each System V object has its own id, which is no negative number.",
      spec: "SPEC 5.90, 5.91, 5.93",
    },
    function* (context) {
      for (const table of tables) {
        const seen = new Set<number>();
        for (const [row, { id }] of context.tables[table].entries()) {
          const at = { table, row, field: "id" } as const;
          if (id > 0x7fff_ffff) yield { message: `${id} is no id of System V IPC`, at, expected: "at most 2147483647" };
          else if (seen.has(id)) yield { message: `two objects have the id ${id}`, at };
          seen.add(id);
        }
      }
    },
  ),
  modelRule(
    {
      code: "ipc.segment",
      facet: "shared-memory",
      summary: "A System V segment has memory of its own, and mappings of it lie in its pages.",
      spec: "SPEC 5.90",
    },
    function* ({ tables: { sysvSegments, objects, vmas } }) {
      const owners = new Map<number, number>();
      for (const [row, { object, id, size }] of sysvSegments.entries()) {
        const kind = objects[object]?.kind;
        const at = { table: "sysvSegments", row, field: "object" } as const;
        if (kind !== undefined && kind !== "shared_memory") yield { message: `segment ${id} is a ${kind}`, at, expected: "shared_memory" };
        if (owners.has(object)) yield { message: `segments ${owners.get(object)} and ${id} have the same memory`, at };
        owners.set(object, id);
        const pages = (size + 4095n) & ~4095n;
        const beyond = vmas.find((vma) => vma.object === object && vma.offset + (vma.end - vma.start) > pages);
        if (beyond !== undefined) {
          yield {
            message: `the mapping at 0x${beyond.start.toString(16)} reaches beyond segment ${id}`,
            at,
            expected: `at most ${pages} bytes`,
            actual: `${beyond.offset + (beyond.end - beyond.start)} bytes`,
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "ipc.semaphores",
      facet: "shared-memory",
      summary: "Semaphores have values and adjustments that a kernel gives, and as many values as last users.",
      spec: "SPEC 5.91, 5.92",
    },
    function* ({ tables: { sysvSemaphoreSets, semaphoreUndos, tasks } }): Generator<Problem> {
      for (const [row, { id, values, pids }] of sysvSemaphoreSets.entries()) {
        const at = { table: "sysvSemaphoreSets", row, field: "values" } as const;
        if (values.length % 4 !== 0 || values.length === 0 || values.length !== pids.length) {
          yield { message: `semaphore set ${id} has ${values.length} bytes of values and ${pids.length} of last users`, at };
          continue;
        }
        const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
        for (let at4 = 0; at4 < values.length; at4 += 4) {
          const value = view.getUint32(at4, true);
          if (value <= largestSemaphore) continue;
          yield { message: `semaphore ${at4 / 4} of set ${id} is ${value}`, at, expected: `at most ${largestSemaphore}` };
        }
      }
      for (const [row, { set, number, adjustment, task }] of semaphoreUndos.entries()) {
        const at = { table: "semaphoreUndos", row } as const;
        const count = (sysvSemaphoreSets[set]?.values.length ?? 0) / 4;
        if (sysvSemaphoreSets[set] !== undefined && number >= count) yield { message: `the set has no semaphore ${number}`, at };
        if (adjustment < -largestSemaphore - 1 || adjustment > largestSemaphore || adjustment === 0) {
          yield { message: `the adjustment ${adjustment} is none that a kernel gives`, at };
        }
        if (tasks[task]?.state === "zombie") yield { message: "a process that has ended has nothing more to undo", at };
      }
    },
  ),
  modelRule(
    { code: "ipc.message", facet: "shared-memory", summary: "Messages of a System V queue have a type above 0.", spec: "SPEC 5.94" },
    function* (context) {
      for (const [row, { type }] of context.tables.sysvMessages.entries()) {
        if (type > 0n) continue;
        yield { message: `a message has the type ${type}`, at: { table: "sysvMessages", row, field: "type" }, expected: "at least 1" };
      }
    },
  ),
];
