// SPDX-License-Identifier: Apache-2.0
/** Objects of inter-process communication that no descriptor names: System V shared memory, semaphores and queues. */
import { sysvSegmentFlagsBits } from "../../gen/tables.js";
import type { Block } from "./document.js";
import { formatBytes } from "../units.js";
import type { Scope } from "./scope.js";
import type { Section } from "./section-tasks.js";

interface SystemVRow {
  readonly id: number;
  readonly key: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function common({ id, key, mode, uid, gid }: SystemVRow): string[] {
  return [String(id), key === 0 ? "private" : `0x${key.toString(16).padStart(8, "0")}`, mode.toString(8), `${uid}:${gid}`];
}

const outside = "others use it too";
const columns = [{ title: "ID", align: "right" }, { title: "KEY" }, { title: "MODE" }, { title: "OWNER" }] as const;

/** All of the tree: nobody owns them but the IPC namespace. */
export function ipc({ checkpoint: { tables } }: Scope): Section {
  const { sysvSegments, sysvSemaphoreSets, semaphoreUndos, sysvQueues, sysvMessages } = tables;
  const blocks: Block[] = [];
  if (sysvSegments.length > 0) {
    const rows = sysvSegments.map((row) => [
      ...common(row),
      formatBytes(row.size),
      Object.entries(sysvSegmentFlagsBits)
        .flatMap(([name, bit]) => ((row.flags & bit) === 0 ? [] : [name === "outside" ? outside : name]))
        .join(", ") || "-",
    ]);
    blocks.push({
      heading: "Shared memory (System V)",
      columns: [...columns, { title: "SIZE", align: "right" }, { title: "STATE" }],
      rows,
    });
  }
  if (sysvSemaphoreSets.length > 0) {
    const rows = sysvSemaphoreSets.map((row, index) => {
      const undos = semaphoreUndos
        .filter(({ set }) => set === index)
        .map(
          ({ task, number, adjustment }) =>
            `${adjustment > 0 ? "+" : ""}${adjustment} to #${number} when ${tables.tasks[task]?.pid ?? "?"} ends`,
        );
      return [...common(row), u4s(row.values).join(" "), [...((row.flags & 1) === 0 ? [] : [outside]), ...undos].join("; ") || "-"];
    });
    blocks.push({ heading: "Semaphores (System V)", columns: [...columns, { title: "VALUES" }, { title: "STATE" }], rows });
  }
  if (sysvQueues.length > 0) {
    const rows = sysvQueues.map((row, index) => {
      const messages = sysvMessages.filter(({ queue }) => queue === index);
      const bytes = messages.reduce((sum, { data }) => sum + data.length, 0);
      return [...common(row), `${messages.length} of ${bytes} bytes`, `${row.capacity}`, (row.flags & 1) === 0 ? "-" : outside];
    });
    blocks.push({
      heading: "Message queues (System V)",
      columns: [...columns, { title: "MESSAGES" }, { title: "CAPACITY", align: "right" }, { title: "STATE" }],
      rows,
    });
  }
  const all = (rows: readonly unknown[]): number[] => rows.map((_, index) => index);
  return {
    blocks: blocks.length > 0 ? blocks : [{ lines: ["no System V IPC"] }],
    selected: {
      sysvSegments: all(sysvSegments),
      sysvSemaphoreSets: all(sysvSemaphoreSets),
      semaphoreUndos: all(semaphoreUndos),
      sysvQueues: all(sysvQueues),
      sysvMessages: all(sysvMessages),
    },
  };
}

function u4s(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 2 }, (_, index) => view.getUint32(index * 4, true));
}
