// SPDX-License-Identifier: Apache-2.0
/** Pipes: content, capacity and packets agree. */
import { lacksDetail, type FileValidation } from "../../validate/rules/file-kind.js";
import { modelRule } from "../../validate/model-context.js";
import type { PipeRow } from "../../gen/tables.js";

function packetSum(pipe: PipeRow): number | undefined {
  if (pipe.packets.length % 4 !== 0) return undefined;
  const view = Buffer.from(pipe.packets.buffer, pipe.packets.byteOffset, pipe.packets.byteLength);
  let sum = 0;
  for (let offset = 0; offset < view.length; offset += 4) sum += view.readUInt32LE(offset);
  return sum;
}

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [
    modelRule(
      {
        code: "fd.pipe-content",
        facet: "pipes",
        summary: "A pipe holds no more than its capacity, and its packets add up to its content.",
        spec: "SPEC 5.16",
      },
      function* ({ tables }) {
        for (const [row, pipe] of tables.pipes.entries()) {
          if (pipe.capacity !== 0 && pipe.data.length > pipe.capacity) {
            yield {
              message: `pipe ${pipe.ino} holds more than its capacity`,
              at: { table: "pipes", row, field: "data" },
              expected: `at most ${pipe.capacity} bytes`,
              actual: `${pipe.data.length} bytes`,
            };
          }
          const sum = pipe.packets.length === 0 ? pipe.data.length : packetSum(pipe);
          if (sum !== pipe.data.length) {
            yield {
              message: `the packets of pipe ${pipe.ino} do not add up to its content`,
              at: { table: "pipes", row, field: "packets" },
              expected: `${pipe.data.length} bytes`,
              actual: sum === undefined ? "half a length" : `${sum} bytes`,
            };
          }
        }
      },
    ),
  ],
};
