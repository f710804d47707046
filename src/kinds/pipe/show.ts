// SPDX-License-Identifier: Apache-2.0
/** Pipes: a row in the list of descriptors, and a section of their own. */
import type { PipeRow } from "../../gen/tables.js";
import { detailsOf, holdersOf } from "../../ops/show/held-files.js";
import type { Scope } from "../../ops/show/scope.js";
import type { Section } from "../../ops/show/section-tasks.js";
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: ({ tables }, { detail }) => (detail === null ? "pipe" : `pipe:[${tables.pipes[detail]?.ino ?? "?"}]`),
};

/** Pipes with both their ends. */
export function pipes(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const holders = holdersOf(scope);
  const indices = detailsOf(scope, "pipe").filter((index) => index < tables.pipes.length);
  const ends = (detail: number, isWriting: boolean): string => {
    const found = tables.files.flatMap((file, index) => {
      const writes = (file.flags & 3) !== 0;
      return file.kind === "pipe" && file.detail === detail && writes === isWriting ? [holders.get(index) ?? "-"] : [];
    });
    return found.join("; ") || "-";
  };
  const rows = indices.map((index) => {
    const pipe = tables.pipes[index] as PipeRow;
    return [
      `pipe:[${pipe.ino}]`,
      String(pipe.capacity),
      String(pipe.data.length),
      pipe.isPacket === 0 ? "stream" : "packets",
      ends(index, false),
      ends(index, true),
    ];
  });
  const columns = [
    { title: "PIPE" },
    { title: "CAPACITY", align: "right" },
    { title: "IN FLIGHT", align: "right" },
    { title: "MODE" },
    { title: "READ BY" },
    { title: "WRITTEN BY" },
  ] as const;
  return { blocks: [rows.length > 0 ? { columns, rows } : { lines: ["no pipes"] }], selected: { pipes: indices } };
}
