// SPDX-License-Identifier: Apache-2.0
/** Small states have values that a kernel gives: each row of src/state says which. */
import type { Problem } from "../finding.js";
import { type ModelRule, modelRule } from "../model-context.js";
import type { AnyState } from "../../state/state.js";
import { statesOfMm, statesOfTask, statesOfThread } from "../../state/states.js";

function* checkRows<Row>(
  states: Readonly<Record<string, AnyState<Row>>>,
  rows: readonly Row[],
  table: "tasks" | "threads" | "mms",
): Generator<Problem> {
  for (const [row, fields] of rows.entries()) {
    for (const { check, title } of Object.values(states)) {
      const expected = check(fields);
      if (expected !== undefined) yield { message: `${title} has a value that no kernel gives`, at: { table, row }, expected };
    }
  }
}

/** BPF_MAXINSNS */
const mostInstructions = 4096;

export const stateRules: readonly ModelRule[] = [
  modelRule(
    { code: "state.value", facet: "tree", summary: "Small states have values that the kernel gives.", spec: "SPEC 5.2, 5.3, 5.10" },
    function* ({ tables }) {
      yield* checkRows(statesOfTask, tables.tasks, "tasks");
      yield* checkRows(statesOfThread, tables.threads, "threads");
      yield* checkRows(statesOfMm, tables.mms, "mms");
    },
  ),
  modelRule(
    {
      code: "state.seccomp",
      facet: "credentials",
      summary: "Seccomp filters are whole and follow the one before; a thread is under strict mode or under filters, once.",
      spec: "SPEC 5.84, 5.85",
    },
    function* ({ tables }) {
      for (const [row, { previous, instructions }] of tables.seccompFilters.entries()) {
        const at = { table: "seccompFilters", row } as const;
        const count = instructions.length / 8;
        if (!Number.isInteger(count) || count < 1 || count > mostInstructions)
          yield { message: "a seccomp filter is not 1 to 4096 whole instructions", at: { ...at, field: "instructions" } };
        if (previous !== null && previous >= row)
          yield { message: "a seccomp filter comes before the one it follows", at: { ...at, field: "previous" } };
      }
      const seen = new Set<number>();
      for (const [row, { thread, mode, filter }] of tables.seccompStates.entries()) {
        if (seen.has(thread)) yield { message: `thread #${thread} has two seccomp states`, at: { table: "seccompStates", row } };
        seen.add(thread);
        if ((mode === "filter") !== (filter !== null))
          yield {
            message: `seccomp mode ${mode} ${filter === null ? "without" : "with"} a filter`,
            at: { table: "seccompStates", row, field: "filter" },
          };
      }
    },
  ),
  modelRule(
    {
      code: "state.cgroups",
      facet: "tree",
      summary: "Control groups come after those above them, their paths lead nowhere else, and a thread is in one a hierarchy.",
      spec: "SPEC 5.86, 5.88",
    },
    function* ({ tables }) {
      for (const [row, { path, root }] of tables.cgroups.entries()) {
        for (const [field, text] of [
          ["path", path],
          ["root", root],
        ] as const) {
          const isWhole = text === "/" || text === "" || /^(\/[^/]+)+$/.test(text);
          if (!isWhole || text.split("/").includes("..") || (field === "path" && text === ""))
            yield { message: `"${text}" is no path of a control group`, at: { table: "cgroups", row, field } };
        }
      }
      for (const [row, { name }] of tables.cgroupProperties.entries()) {
        if (!/^[\w.-]+$/.test(name))
          yield { message: `"${name}" is no file of a control group`, at: { table: "cgroupProperties", row, field: "name" } };
      }
      const seen = new Set<string>();
      for (const [row, { thread, cgroup }] of tables.cgroupMembers.entries()) {
        const key = `${thread} ${tables.cgroups[cgroup]?.hierarchy}`;
        if (seen.has(key)) yield { message: `thread #${thread} is in two groups of a hierarchy`, at: { table: "cgroupMembers", row } };
        seen.add(key);
      }
    },
  ),
  modelRule(
    { code: "state.memory-policy", facet: "memory", summary: "A memory policy is of one mapping, or a part of it.", spec: "SPEC 5.28" },
    function* ({ tables }) {
      for (const [row, policy] of tables.memoryPolicies.entries()) {
        const inside = tables.vmas.some((vma) => vma.mm === policy.mm && vma.start <= policy.start && policy.end <= vma.end);
        if (policy.start < policy.end && inside) continue;
        const range = `0x${policy.start.toString(16)}-0x${policy.end.toString(16)}`;
        yield {
          message: `the memory policy of ${range} lies in no mapping`,
          at: { table: "memoryPolicies", row },
          expected: "a range of one mapping",
        };
      }
    },
  ),
];
