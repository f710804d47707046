// SPDX-License-Identifier: Apache-2.0
/** Rules about memory that is not there: what a core left out is neither zero nor the file's. */
import { absentAt, strandedThreads } from "../../model/absent.js";
import { type ModelRule, hex, modelRule, vmaAt } from "../model-context.js";

const range = (start: bigint, end: bigint): string => `${start.toString(16)}-${end.toString(16)}`;

export const absentRules: readonly ModelRule[] = [
  modelRule(
    { code: "absent.range", facet: "memory", summary: "An absent region is a part of one mapping, and they ascend.", spec: "SPEC 5.40" },
    function* (context) {
      let before: { readonly mm: number; readonly end: bigint } | undefined;
      for (const [row, { mm, start, end }] of context.tables.absentRegions.entries()) {
        const vma = vmaAt(context, mm, start);
        if (end <= start || !vma || end > vma.end) {
          yield {
            message: `absent region ${range(start, end)} is no part of a mapping`,
            at: { table: "absentRegions", row, field: "end" },
            ...(vma && { expected: `above ${hex(start)}, up to ${hex(vma.end)}` }),
            actual: hex(end),
          };
        } else if (before && before.mm === mm && start < before.end) {
          yield {
            message: `absent region ${range(start, end)} overlaps the one before it, or is out of order`,
            at: { table: "absentRegions", row, field: "start" },
            expected: `from ${hex(before.end)} on`,
            actual: hex(start),
          };
        }
        before = { mm, end };
      }
    },
  ),
  modelRule(
    {
      code: "absent.memory",
      severity: "warning",
      facet: "memory",
      summary: "All memory of a process is there.",
      spec: "SPEC 5.40",
    },
    function* ({ checkpoint, tables }) {
      for (const [mm] of tables.mms.entries()) {
        const sums = new Map<string, { bytes: bigint; row: number; count: number }>();
        for (const [row, region] of tables.absentRegions.entries()) {
          if (region.mm !== mm) continue;
          const sum = sums.get(region.reason) ?? { bytes: 0n, row, count: 0 };
          sums.set(region.reason, { ...sum, bytes: sum.bytes + (region.end - region.start), count: sum.count + 1 });
        }
        const pid = checkpoint.tables.tasks.find((task) => task.mm === mm)?.pid ?? 0;
        for (const [reason, { bytes, row, count }] of sums) {
          yield {
            message:
              `${bytes} bytes of the memory of process ${pid}, in ${count} ${count === 1 ? "region" : "regions"}, are not ` +
              `there: ${reason}`,
            at: { table: "absentRegions", row },
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "absent.thread",
      facet: "registers",
      summary: "The pages that the stack pointer and the instruction pointer of a thread point to are there.",
      spec: "SPEC 5.40",
    },
    function* ({ checkpoint, tables }) {
      for (const { thread, register, address, region } of strandedThreads(checkpoint)) {
        yield {
          message:
            `${register === "sp" ? "the stack" : "the instruction"} of thread ${tables.threads[thread]?.tid ?? 0}, at ` +
            `${hex(address)}, is not there: ${region.reason}`,
          at: { table: "threads", row: thread, field: `regs.${register}` },
          hint: "the process cannot be resumed; a debugger shows its registers, but no backtrace of this thread",
        };
      }
    },
  ),
  modelRule(
    { code: "absent.stored", facet: "memory", summary: "Nothing is both stored and absent.", spec: "SPEC 5.40" },
    function* ({ checkpoint, tables }) {
      if (tables.absentRegions.length === 0) return;
      for (const [row, { ownerKind, owner, address, length }] of tables.extents.entries()) {
        if (ownerKind !== "mm") continue;
        const region = absentAt(checkpoint, owner, address) ?? absentAt(checkpoint, owner, address + length - 1n);
        if (region) {
          yield {
            message: `pages ${range(address, address + length)} are stored and absent (${range(region.start, region.end)})`,
            at: { table: "extents", row, field: "address" },
          };
        }
      }
    },
  ),
];
