// SPDX-License-Identifier: Apache-2.0
/** Rules about address spaces and their mappings. */
import { type MmRow, type VmaRow, vmaProtBits } from "../../gen/tables.js";
import { auxType, readAuxv } from "../../model/auxv.js";
import type { Problem } from "../finding.js";
import { type ModelContext, type ModelRule, hex, modelRule, pageSize, userEnd, vmaRange, vsyscallStart } from "../model-context.js";

/** Every VMA with its row number. */
function* vmasOf({ tables }: ModelContext): Generator<readonly [number, VmaRow]> {
  yield* tables.vmas.entries();
}

const fileKinds: ReadonlySet<VmaRow["kind"]> = new Set(["file_private", "file_shared"]);

function wrongObject({ tables }: ModelContext, vma: VmaRow): string | undefined {
  const kind = vma.object === null ? undefined : tables.objects[vma.object]?.kind;
  if (fileKinds.has(vma.kind) && vma.object === null) return "a file mapping names the file";
  if (vma.kind === "anon_shared" && vma.object === null) return "shared memory names its object";
  if (vma.kind === "anon_private" && vma.object !== null) return "private anonymous memory has no object";
  if (vma.kind === "aio_ring" && vma.object !== null) return "the ring of an asynchronous I/O context has no object";
  if (kind === undefined) return undefined;
  if (vma.kind === "anon_shared" && kind !== "shared_memory" && kind !== "memfd")
    return "shared memory maps an object of kind shared_memory or memfd";
  if (fileKinds.has(vma.kind) && (kind === "directory" || kind === "fifo" || kind === "unix_socket" || kind === "symlink")) {
    return `an object of kind ${kind} cannot be mapped`;
  }
  return undefined;
}

const fieldPairs: readonly (readonly [keyof MmRow, keyof MmRow, string, string])[] = [
  ["startCode", "endCode", "start_code", "end_code"],
  ["startData", "endData", "start_data", "end_data"],
  ["startBrk", "brk", "start_brk", "brk"],
  ["argStart", "argEnd", "arg_start", "arg_end"],
  ["envStart", "envEnd", "env_start", "env_end"],
];

/** AT_PHENT is the size of Elf64_Phdr, AT_CLKTCK the USER_HZ of x86. */
const fixedAuxv = [
  ["AT_PAGESZ", 6n, 4096n],
  ["AT_PHENT", 4n, 56n],
  ["AT_CLKTCK", 17n, 100n],
] as const;

/** What is wrong with guard regions, which ascend within an address space as a rule. */
function* guardProblems({ checkpoint, tables }: ModelContext): Generator<Problem> {
  const last = new Map<number, bigint>();
  for (const [row, { mm, start, end }] of tables.guardRegions.entries()) {
    const at = { table: "guardRegions", row, field: "start" } as const;
    const where = `${hex(start)}-${hex(end)}`;
    if (start >= end || start % pageSize !== 0n || end % pageSize !== 0n) {
      yield { message: `guard region ${where} is no run of pages`, at };
      continue;
    }
    if (start < (last.get(mm) ?? 0n)) yield { message: `guard region ${where} overlaps another one, or is out of order`, at };
    last.set(mm, end);
    const vmas = checkpoint.vmasOf(mm).map((index) => tables.vmas[index] as VmaRow);
    if (!vmas.some((vma) => vma.start <= start && end <= vma.end)) yield { message: `guard region ${where} lies in no mapping`, at };
    const stored = checkpoint.extentsOf({ mm }).find(({ address, length }) => address < end && address + length > start);
    if (stored !== undefined)
      yield { message: `guard region ${where} has stored pages`, at, expected: "no extent there", actual: hex(stored.address) };
  }
}

export const vmaRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "memory.guard",
      facet: "memory",
      summary: "Guard regions are pages of one mapping each, apart from each other, and no page of them is stored.",
      spec: "SPEC 5.27",
    },
    guardProblems,
  ),
  modelRule(
    { code: "memory.vma-empty", facet: "memory", summary: "A mapping ends after it starts.", spec: "SPEC 5.11" },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        if (vma.start < vma.end) continue;
        yield {
          message: `mapping ${vmaRange(vma)} is empty`,
          at: { table: "vmas", row, field: "end" },
          expected: `above ${hex(vma.start)}`,
          actual: hex(vma.end),
        };
      }
    },
  ),
  modelRule(
    {
      code: "memory.vma-alignment",
      facet: "memory",
      summary: "Mappings start and end at page boundaries, and so do their offsets in files.",
      spec: "SPEC 5.11",
    },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        for (const [field, value] of [
          ["start", vma.start],
          ["end", vma.end],
        ] as const) {
          if (value % pageSize === 0n) continue;
          yield {
            message: `${field} of mapping ${vmaRange(vma)} is not at a page boundary`,
            at: { table: "vmas", row, field },
            expected: "a multiple of 4096",
            actual: hex(value),
          };
        }
        if (vma.object !== null && vma.offset % pageSize !== 0n) {
          yield {
            message: `the offset of mapping ${vmaRange(vma)} is not at a page boundary`,
            at: { table: "vmas", row, field: "offset" },
            expected: "a multiple of 4096",
            actual: hex(vma.offset),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "memory.vma-range", facet: "memory", summary: "Mappings lie in user addresses, but for the vsyscall page.", spec: "SPEC 5.11" },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        if (vma.end <= userEnd) continue;
        if (vma.kind === "vsyscall" && vma.start === vsyscallStart) continue;
        yield {
          message: `mapping ${vmaRange(vma)} reaches beyond user addresses`,
          at: { table: "vmas", row, field: "end" },
          expected: `at most ${hex(userEnd)}`,
          actual: hex(vma.end),
        };
      }
    },
  ),
  modelRule(
    {
      code: "memory.vma-overlap",
      facet: "memory",
      summary: "The mappings of an address space ascend and do not overlap.",
      spec: "SPEC 5.11",
    },
    function* ({ checkpoint, tables }) {
      for (let mm = 0; mm < tables.mms.length; mm += 1) {
        let before: VmaRow | undefined;
        for (const row of checkpoint.vmasOf(mm)) {
          const vma = tables.vmas[row] as VmaRow;
          if (before !== undefined && vma.start < before.end) {
            const how = vma.end <= before.start ? "comes after" : "overlaps";
            yield {
              message: `mapping ${vmaRange(vma)} ${how} ${vmaRange(before)}`,
              at: { table: "vmas", row, field: "start" },
              expected: `from ${hex(before.end)} on`,
              actual: hex(vma.start),
            };
          }
          before = vma;
        }
      }
    },
  ),
  modelRule(
    { code: "memory.vma-prot", facet: "memory", summary: "Protections are made of read, write and exec.", spec: "SPEC 5.11" },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        if ((vma.prot & ~7) === 0) continue;
        yield {
          message: `mapping ${vmaRange(vma)} has unknown protection bits`,
          at: { table: "vmas", row, field: "prot" },
          expected: "0 to 7",
          actual: hex(vma.prot),
        };
      }
    },
  ),
  modelRule(
    {
      code: "memory.vma-flags",
      severity: "warning",
      facet: "memory",
      summary: "The kernel's VmFlags agree with kind and protection.",
      spec: "SPEC 5.11",
    },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        if (vma.vmFlags === 0n || vma.kind === "vsyscall") continue;
        const bits = Number(vma.vmFlags & 7n);
        const isShared = ((vma.vmFlags >> 3n) & 1n) === 1n;
        if (bits !== vma.prot) {
          yield {
            message: `mapping ${vmaRange(vma)} has rd, wr, ex flags that are not its protection`,
            at: { table: "vmas", row, field: "vm_flags" },
            expected: hex(vma.prot),
            actual: hex(bits),
          };
        }
        if (isShared && vma.kind === "anon_private") {
          yield { message: `mapping ${vmaRange(vma)} is private but has the flag sh`, at: { table: "vmas", row, field: "vm_flags" } };
        }
      }
    },
  ),
  modelRule(
    {
      code: "memory.vma-object",
      facet: "memory",
      summary: "File mappings and shared memory name what they map; private anonymous memory names nothing.",
      spec: "SPEC 5.11",
    },
    function* (context) {
      for (const [row, vma] of vmasOf(context)) {
        const wrong = wrongObject(context, vma);
        if (wrong !== undefined)
          yield { message: `mapping ${vmaRange(vma)} (${vma.kind}): ${wrong}`, at: { table: "vmas", row, field: "object" } };
      }
    },
  ),
  modelRule(
    {
      code: "memory.mm-unused",
      severity: "warning",
      facet: "memory",
      summary: "Every address space belongs to a task.",
      spec: "SPEC 5.10",
    },
    function* ({ tables }) {
      const used = new Set(tables.tasks.map((task) => task.mm));
      for (const row of tables.mms.keys()) {
        if (!used.has(row)) yield { message: `no task has address space #${row}`, at: { table: "mms", row } };
      }
    },
  ),
  modelRule(
    {
      code: "memory.mm-fields",
      severity: "warning",
      facet: "memory",
      summary: "Code, data, break, arguments and environment end after they start, below the end of user addresses.",
      spec: "prctl(2), PR_SET_MM_MAP",
    },
    function* ({ tables }): Generator<Problem> {
      for (const [row, mm] of tables.mms.entries()) {
        for (const [start, end, startId, endId] of fieldPairs) {
          const [low, high] = [mm[start] as bigint, mm[end] as bigint];
          if (low <= high && high <= userEnd) continue;
          yield {
            message: `${startId} to ${endId} is no range of user addresses`,
            at: { table: "mms", row, field: endId },
            expected: `${hex(low)} to ${hex(userEnd)}`,
            actual: hex(high),
          };
        }
      }
    },
  ),
  modelRule(
    {
      code: "memory.auxv",
      severity: "warning",
      facet: "command-line",
      summary: "The auxiliary vector is made of pairs of 64-bit numbers.",
      spec: "getauxval(3)",
    },
    function* ({ tables }) {
      for (const [row, mm] of tables.mms.entries()) {
        if (mm.auxv.length % 16 === 0) continue;
        yield {
          message: "the auxiliary vector is cut off",
          at: { table: "mms", row, field: "auxv" },
          expected: "a multiple of 16 bytes",
          actual: `${mm.auxv.length} bytes`,
        };
      }
    },
  ),
  modelRule(
    {
      code: "memory.auxv-values",
      severity: "warning",
      facet: "command-line",
      spec: "getauxval(3)",
      summary: "Where the auxiliary vector tells page size, size of program headers, clock ticks and vDSO, it tells what is so.",
    },
    function* ({ checkpoint, tables }) {
      for (const [row, { auxv, vdsoBase }] of tables.mms.entries()) {
        const at = { table: "mms", row, field: "auxv" } as const;
        const values = readAuxv(auxv);
        const hasVdso = checkpoint.vmasOf(row).some((index) => tables.vmas[index]?.kind === "vdso");
        const expected =
          hasVdso && vdsoBase !== 0n ? [...fixedAuxv, ["AT_SYSINFO_EHDR", auxType.sysinfoEhdr, vdsoBase] as const] : fixedAuxv;
        for (const [name, type, value] of expected) {
          const actual = values.get(type);
          // criu-coredump writes zeros where it does not know.
          if (actual === undefined || actual === 0n || actual === value) continue;
          // A program that was resumed under another kernel has the vDSO of its own as memory (SPEC 10).
          const isCode = ({ mm, kind, start, prot }: VmaRow): boolean =>
            mm === row && kind === "anon_private" && start === actual && (prot & vmaProtBits.exec) !== 0;
          if (type !== auxType.sysinfoEhdr || !tables.vmas.some(isCode))
            yield { message: `${name} in the auxiliary vector is wrong`, at, expected: hex(value), actual: hex(actual) };
        }
      }
    },
  ),
  modelRule(
    { code: "memory.vdso", facet: "memory", summary: "vdso_base is the start of the one [vdso] mapping.", spec: "SPEC 5.10" },
    function* ({ checkpoint, tables }) {
      for (const [row, mm] of tables.mms.entries()) {
        const found = checkpoint
          .vmasOf(row)
          .map((index) => tables.vmas[index] as VmaRow)
          .filter((vma) => vma.kind === "vdso");
        if (mm.vdsoBase !== 0n && !found.some((vma) => vma.start === mm.vdsoBase)) {
          yield {
            message: "vdso_base is not the start of a mapping of kind vdso",
            at: { table: "mms", row, field: "vdso_base" },
            expected: found.map((vma) => hex(vma.start)).join(" or ") || "0",
            actual: hex(mm.vdsoBase),
          };
        }
      }
    },
  ),
];
