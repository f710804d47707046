// SPDX-License-Identifier: Apache-2.0
/**
 * Rules about the restore program of an image (SPEC 10): that it is well formed, that the tables yield it, and that it
 * maps what the tables say and nothing else.
 */
import { helperFor } from "../../../formats/ckpt-elf/helper.js";
import { frameRecords } from "../../../formats/ckpt-elf/frames.js";
import { readInterpreter } from "../../../formats/ckpt-elf/interpreter.js";
import { ByteReader } from "../../bytes/byte-reader.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { type ProgramHeader as Segment, segmentTypeValues } from "../../gen/elf64.js";
import {
  type Op,
  type ProgramHeader,
  argModeValues,
  expectValues,
  opFlagsBits,
  opKindValues,
  opSize,
  programHeaderSize,
  readOp,
  readProgramHeader,
} from "../../gen/restore-program.js";
import { DescriptorProgram } from "../../lower/fds/lowering.js";
import { checksum, checksumOffset, putChecksum } from "../../lower/checksum.js";
import type { HelperPlace } from "../../lower/devices.js";
import { firstLocalSlot, numLocalSlots } from "../../lower/operands.js";
import { unrolled, wrongRows } from "../../lower/unroll.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { planInheritance } from "../../lower/inheritance.js";
import { lowerCheckpoint } from "../../lower/lower.js";
import { planTree } from "../../lower/tree-plan.js";
import { putProgramSums, takeForeignSums } from "../../lower/program-sums.js";
import type { VmaRow } from "../../gen/tables.js";
import type { Problem, Rule } from "../finding.js";
import { hex } from "../model-context.js";
import type { Container } from "./container.js";
import { type Span, normalised, uncovered } from "./spans.js";

export interface Program {
  readonly container: Container;
  readonly segment: Segment;
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly header: ProgramHeader;
  readonly ops: readonly Op[];
  /** Bytes of page 0 and the interpreter, as the image has them. */
  readonly code: Segment | undefined;
}

type ProgramRule = Rule<Program>;

function programRule(
  rule: Pick<ProgramRule, "code" | "severity" | "summary" | "spec">,
  check: (program: Program) => Iterable<Problem>,
): ProgramRule {
  return { ...rule, profile: "format", check };
}

/** The rule that reading itself applies. */
export const programUnreadable = {
  code: "program.unreadable",
  severity: "error",
  profile: "format",
  spec: "SPEC 10",
  summary: "The header and the ops of the restore program can be read.",
} as const;

/** Interpreters have a few pages. */
const maxCodeBytes = 1n << 20n;

/** Largest program that is read: some thousand tasks. */
const maxProgramBytes = 1n << 28n;

/** The program of an image; undefined if it has none. Throws CrimgError. */
export function readProgram(container: Container): Program | undefined {
  const index = container.segments.findIndex(({ pType }) => pType === segmentTypeValues.ckpt_program);
  const segment = container.segments[index];
  if (segment === undefined) return undefined;
  const path = `program_headers[${index}]`;
  if (segment.pFilesz > maxProgramBytes) {
    throw new CrimgError("program.size", "the restore program is too large", {
      source: container.file.name,
      path,
      expected: `at most ${maxProgramBytes} bytes`,
      actual: String(segment.pFilesz),
    });
  }
  const bytes = container.file.read(segment.pOffset, Number(segment.pFilesz));
  const reader = new ByteReader(bytes, { source: container.file.name, base: segment.pOffset });
  reader.enter("program_header");
  const header = readProgramHeader(reader);
  const end = header.ofsOps + BigInt(header.numOps) * BigInt(opSize);
  if (header.lenOp !== opSize || header.ofsOps < BigInt(programHeaderSize) || end > BigInt(bytes.length)) {
    throw new CrimgError("program.ops", "the ops do not lie in the program", {
      source: container.file.name,
      path: "program_header.ofs_ops",
      offset: segment.pOffset + 16n,
      expected: `${header.numOps} ops of ${opSize} bytes`,
      actual: `${bytes.length} bytes`,
    });
  }
  const ops: Op[] = [];
  reader.pos = Number(header.ofsOps);
  for (let place = 0; place < header.numOps; place += 1) {
    reader.enter("ops", place);
    ops.push(readOp(reader));
  }
  return { container, segment, index, bytes, header, ops, code: container.segments.find(({ pType }) => pType === segmentTypeValues.load) };
}

function opPlace({ segment, header }: Program, index: number, field: string, offset: number): Problem["place"] {
  return { path: `ops[${index}].${field}`, offset: segment.pOffset + header.ofsOps + BigInt(index * opSize + offset) };
}

/** A text of the data; empty for 0 and for what lies outside. */
function textAt({ bytes, header }: Program, offset: number): string {
  const start = Number(header.ofsData) + offset;
  if (offset === 0 || start >= bytes.length) return "";
  const end = bytes.indexOf(0, start);
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, (end < 0 ? bytes.length : end) - start).toString("utf8");
}

const mode = argModeValues;
const none = 0xffff_ffff;
const knownKinds: ReadonlySet<number> = new Set(Object.values(opKindValues));
const call = { mmap: 9, munmap: 11, mremap: 25 } as const;
const mapFixed = 0x10n;
const mapFixedNoReplace = 0x100000n;
/** Ops that go to `target` whatever happens, or may. */
const targeted: ReadonlySet<number> = new Set([opKindValues.jump, opKindValues.thread]);

/** Slots of the program, or of whoever runs the op. */
function isSlot({ numSlots }: ProgramHeader, slot: number): boolean {
  return slot < numSlots || (slot >= firstLocalSlot && slot < firstLocalSlot + numLocalSlots);
}

function* operandProblems(program: Program, op: Op, index: number): Generator<Problem> {
  const { header } = program;
  const dataEnd = header.lenMemory - header.ofsData;
  for (const [place, kind] of op.modes.entries()) {
    const value = op.args[place] ?? 0n;
    const at = (actual: string, expected: string): Problem => ({
      message: `argument ${place} of op ${index} lies outside what the program has`,
      place: opPlace(program, index, `args[${place}]`, 16 + 8 * place),
      expected,
      actual,
    });
    if (kind === mode.slot || kind === mode.slot_address) {
      const slot = Number(value & 0xffffffffn);
      if (!isSlot(header, slot)) yield at(`slot ${slot}`, `below ${header.numSlots}`);
    } else if (kind === mode.data || kind === mode.mem4 || kind === mode.mem4s || kind === mode.mem8) {
      if (value > dataEnd) yield at(hex(value), `at most ${hex(dataEnd)}`);
    } else if ((kind === mode.control || kind === mode.control4) && value >= header.lenControl)
      yield at(hex(value), `below ${hex(header.lenControl)}`);
  }
}

/** Mapping calls with fixed addresses, by the task that they are made for. */
interface Mapped {
  readonly maps: Map<string, Span[]>;
  readonly unmaps: Span[];
}

function mappedSpans(program: Program): Mapped {
  const maps = new Map<string, Span[]>();
  const unmaps: Span[] = [];
  for (const op of program.ops) {
    if (op.kind !== opKindValues.syscall) continue;
    const imm = (place: number): bigint | undefined => (op.modes[place] === mode.imm ? (op.args[place] ?? 0n) : undefined);
    const [address, length] = op.nr === call.mremap ? [imm(4), imm(2)] : [imm(0), imm(1)];
    if (address === undefined || length === undefined) continue;
    // The kernel takes no address for a ring of io_uring: what it must choose is expected.
    const isChosen = op.nr === call.mmap && address === 0n && op.expect === expectValues.equals;
    const start = isChosen ? op.expectA : address;
    const span = { start, end: start + length };
    if (op.nr === call.munmap) unmaps.push(span);
    const isFixedMap = isChosen || (op.nr === call.mmap && ((imm(3) ?? 0n) & (mapFixed | mapFixedNoReplace)) !== 0n);
    if (!isFixedMap && op.nr !== call.mremap) continue;
    const subject = textAt(program, op.subject);
    const spans = maps.get(subject);
    if (spans === undefined) maps.set(subject, [span]);
    else spans.push(span);
  }
  return { maps, unmaps };
}

const byKernel: ReadonlySet<VmaRow["kind"]> = new Set(["vdso", "vvar", "vsyscall", "special"]);

function* mappingProblems(program: Program): Generator<Problem> {
  const { checkpoint } = program.container;
  const { tables } = checkpoint;
  const { maps, unmaps } = mappedSpans(program);
  const { holeBase, holeSize } = program.header;
  // What is mapped for a while and unmapped again (the staging area) is no part of a task.
  const passing = normalised([...unmaps, { start: holeBase, end: holeBase + holeSize }]);
  const place = { path: "ops" };
  for (const [subject, spans] of maps) {
    const pid = /^task (\d+)\b/.exec(subject)?.[1];
    const mm = tables.tasks.find((task) => String(task.pid) === pid)?.mm ?? null;
    const vmas = mm === null ? [] : checkpoint.vmasOf(mm).map((row) => tables.vmas[row] as VmaRow);
    const stray = uncovered(normalised(spans), normalised([...vmas, ...passing]));
    if (stray !== undefined)
      yield {
        message: `the program maps memory that ${subject || "no task"} does not have`,
        place,
        actual: `${hex(stray.start)}-${hex(stray.end)}`,
      };
  }
  const inheritance = inheritanceOf(checkpoint);
  const mapped: VmaSpan[][] = [];
  for (const [index, task] of tables.tasks.entries()) {
    const made = [...maps].filter(([subject]) => new RegExp(`^task ${task.pid}\\b`).test(subject)).flatMap(([, found]) => found);
    // What a child keeps is what its parent, which comes before it, has mapped.
    const ofParent = normalised(mapped[task.parent ?? -1] ?? []);
    const kept = [...(inheritance.get(index)?.kept ?? [])].filter((vma) => uncovered(normalised([vma]), ofParent) === undefined);
    const spans = [...made, ...kept];
    mapped[index] = spans;
    if (task.mm === null || task.state === "zombie") continue;
    const vmas = checkpoint
      .vmasOf(task.mm)
      .map((row) => tables.vmas[row] as VmaRow)
      .filter((vma) => !byKernel.has(vma.kind));
    const missing = uncovered(normalised(vmas), normalised(spans));
    if (missing !== undefined)
      yield { message: `the program does not map all of task ${task.pid}`, place, expected: `${hex(missing.start)}-${hex(missing.end)}` };
  }
}

type VmaSpan = Pick<VmaRow, "start" | "end">;

function inheritanceOf(checkpoint: Checkpoint): ReturnType<typeof planInheritance> {
  try {
    return planInheritance(checkpoint, planTree(checkpoint.tables.tasks, checkpoint.tables.checkpoint[0]?.rootTask ?? 0).tasks);
  } catch (error) {
    if (error instanceof CrimgError) return new Map(); // other rules say what is wrong with the tree
    throw error;
  }
}

export const programRules: readonly ProgramRule[] = [
  programRule(
    {
      code: "program.ops",
      severity: "error",
      summary: "Ops are of known kinds, jump to ops, and use slots, data and counters that are there.",
      spec: "SPEC 10",
    },
    function* (program) {
      const { header, ops, bytes } = program;
      if (header.entry >= header.numOps)
        yield {
          message: "the entry is no op",
          place: { path: "program_header.entry", offset: program.segment.pOffset + 12n },
          expected: `below ${header.numOps}`,
          actual: String(header.entry),
        };
      const data = bytes.subarray(Number(header.ofsData), Number(header.ofsData + header.lenData));
      const lost = wrongRows(ops, data);
      if (lost !== undefined) {
        yield { message: lost.message, place: { path: lost.path ?? "ops" } };
        return;
      }
      for (const { index, op } of unrolled(ops, data)) {
        if (!knownKinds.has(op.kind))
          yield { message: `op ${index} has an unknown kind`, place: opPlace(program, index, "kind", 0), actual: String(op.kind) };
        const jumps = targeted.has(op.kind) || (op.flags & opFlagsBits.else_jump) !== 0;
        if (jumps && op.target >= header.numOps)
          yield {
            message: `op ${index} jumps to an op that does not exist`,
            place: opPlace(program, index, "target", 84),
            expected: `below ${header.numOps}`,
            actual: String(op.target),
          };
        if (op.store !== none && !isSlot(header, op.store))
          yield {
            message: `op ${index} stores into a slot that does not exist`,
            place: opPlace(program, index, "store", 80),
            expected: `below ${header.numSlots}`,
            actual: String(op.store),
          };
        for (const [field, offset, text] of [
          ["subject", 88, op.subject],
          ["message", 92, op.message],
          ["hint", 96, op.hint],
        ] as const) {
          if (BigInt(text) >= header.lenData && text !== 0)
            yield {
              message: `the ${field} of op ${index} lies outside the data`,
              place: opPlace(program, index, field, offset),
              expected: `below ${header.lenData}`,
              actual: String(text),
            };
        }
        yield* operandProblems(program, op, index);
      }
    },
  ),
  programRule(
    {
      code: "program.checksum",
      severity: "error",
      summary: "The checksum over interpreter and program is right: else the interpreter refuses to run.",
      spec: "SPEC 10",
    },
    function* ({ container, code, bytes, segment, header }) {
      if (code === undefined || code.pFilesz < 4096n || code.pFilesz > maxCodeBytes || code.pOffset + code.pFilesz > container.file.size)
        return;
      const interpreter = container.file.read(code.pOffset + 4096n, Number(code.pFilesz) - 4096);
      const expected = putChecksum(bytes.slice(), checksum(interpreter));
      if (expected === header.checksum) return;
      yield {
        message: "the checksum is wrong: interpreter or program were changed",
        expected: hex(expected),
        actual: hex(header.checksum),
        place: { path: "program_header.checksum", offset: segment.pOffset + BigInt(checksumOffset) },
        hint: "crimg convert OLD NEW links the image anew; run it only if you trust where it comes from",
      };
    },
  ),
  programRule(
    {
      code: "program.place",
      severity: "error",
      summary: "The program is loaded where it was linked for, inside the hole, and no task has a mapping there.",
      spec: "SPEC 10",
    },
    function* ({ container, segment, index, header, code }) {
      const path = `program_headers[${index}].p_vaddr`;
      if (segment.pMemsz !== header.lenMemory)
        yield {
          message: "the program gets a different amount of memory than it was linked for",
          place: { path: `program_headers[${index}].p_memsz` },
          expected: hex(header.lenMemory),
          actual: hex(segment.pMemsz),
        };
      if (segment.pVaddr !== header.addrProgram)
        yield {
          message: "the program is loaded elsewhere than it was linked for",
          place: { path },
          expected: hex(header.addrProgram),
          actual: hex(segment.pVaddr),
        };
      const end = header.holeBase + header.holeSize;
      const inHole = (start: bigint, length: bigint): boolean =>
        start >= header.holeBase && length <= header.holeSize && start + length <= end;
      if (
        !inHole(header.addrProgram, header.lenMemory) ||
        !inHole(header.addrControl, header.lenControl) ||
        (code !== undefined && !inHole(code.pVaddr, code.pMemsz))
      ) {
        yield {
          message: "interpreter, program and control area do not lie in the hole",
          place: { path: "program_header.hole_size" },
          actual: `${hex(header.holeBase)}-${hex(end)}`,
        };
      }
      const row = container.checkpoint.tables.vmas.findIndex((vma) => vma.start < end && vma.end > header.holeBase);
      if (row >= 0)
        yield {
          message: "the hole is not free in every task",
          at: { table: "vmas", row, field: "start" },
          expected: `outside ${hex(header.holeBase)}-${hex(end)}`,
        };
    },
  ),
  programRule(
    {
      code: "program.maps",
      severity: "error",
      summary: "The program maps exactly the mappings of each task, and nothing else that stays.",
      spec: "SPEC 10",
    },
    mappingProblems,
  ),
  programRule(
    {
      code: "program.interpreter",
      severity: "warning",
      summary: "The interpreter is the one that this crimg was built with.",
      spec: "SPEC 10",
    },
    function* ({ container, code }) {
      if (code === undefined || isOwnInterpreter(container, code)) return;
      yield {
        message: "the interpreter differs from that of this crimg: the image was made by another build, or changed",
        place: { offset: code.pOffset + 4096n, path: "program_headers[0]" },
        hint: "crimg convert OLD NEW links the image anew",
      };
    },
  ),
  programRule(
    {
      code: "program.differs",
      severity: "warning",
      summary:
        "The program is the one that this crimg makes of the tables. Writers may put others in its place (judged if the " +
        "interpreter is this crimg's own).",
      spec: "SPEC 10",
    },
    function* ({ container, code, bytes, segment, header }) {
      if (code === undefined || !isOwnInterpreter(container, code)) return;
      let derived: Uint8Array;
      try {
        const linked = lowerCheckpoint(container.checkpoint, {
          codeSize: code.pFilesz,
          codeSyscallOffset: 4096n + BigInt(readInterpreter().syscallOffset),
          codeChecksum: readInterpreter().checksum,
          ...helperPlace(container),
          ...(container.frames.length === 0 ? {} : { frames: { records: frameRecords(container.frames), count: container.frames.length } }),
          lowerDescriptors: (context) => new DescriptorProgram(context),
        });
        if (bytes.length === linked.length) takeForeignSums(linked, bytes);
        if (container.sums?.chunks) putProgramSums(linked, container.sums.chunks, readInterpreter().checksum);
        derived = linked.bytes;
      } catch (error) {
        if (!(error instanceof CrimgError)) throw error;
        yield { message: `the tables yield no program: ${error.message}`, place: { path: error.path ?? "tables" } };
        return;
      }
      const first = firstDifference(derived, bytes);
      if (first === undefined) return;
      const op = first < Number(header.ofsData) ? Math.floor((first - Number(header.ofsOps)) / opSize) : undefined;
      yield {
        message: "the restore program differs from the one derived from the tables",
        place: { offset: segment.pOffset + BigInt(first), path: op === undefined || op < 0 ? "program" : `ops[${op}]` },
        hint: "crimg convert OLD NEW links the image anew; run it only if you trust where it comes from",
      };
    },
  ),
  programRule(
    {
      code: "program.helper",
      severity: "warning",
      summary: "The helper that the image starts to bring GPU state back is there, and it is this crimg's own.",
      spec: "SPEC 3",
    },
    function* ({ container }) {
      const own = helperFor(container.checkpoint);
      const segment = container.segments.find(({ pType }) => pType === segmentTypeValues.ckpt_helper);
      if (own === undefined && segment === undefined) return;
      if (own === undefined || segment === undefined) {
        yield {
          message:
            segment === undefined ? "the program used a GPU, but the image has no helper" : "the image has a helper that nothing needs",
          place: { path: "program_headers" },
        };
        return;
      }
      const isSame =
        segment.pFilesz === BigInt(own.bytes.length) &&
        segment.pOffset + segment.pFilesz <= container.file.size &&
        Buffer.compare(container.file.read(segment.pOffset, own.bytes.length), own.bytes) === 0;
      if (isSame) return;
      yield {
        message: "the helper is not the one of this crimg",
        place: { offset: segment.pOffset, path: `program_headers[${container.segments.indexOf(segment)}]` },
        hint: "crimg convert OLD NEW links the image anew; run it only if you trust where it comes from",
      };
    },
  ),
];

/** Where the image says that its helper is. */
function helperPlace({ segments }: Container): { readonly helper?: HelperPlace } {
  const segment = segments.find(({ pType }) => pType === segmentTypeValues.ckpt_helper);
  return segment === undefined ? {} : { helper: { fileOffset: segment.pOffset, size: segment.pFilesz } };
}

function isOwnInterpreter({ file }: Container, code: Segment): boolean {
  let own: Uint8Array;
  try {
    own = readInterpreter().bytes;
  } catch {
    return false; // not built: nothing to compare with
  }
  if (code.pFilesz !== BigInt(own.length) + 4096n || code.pOffset + code.pFilesz > file.size) return false;
  return Buffer.compare(file.read(code.pOffset + 4096n, own.length), own) === 0;
}

/** Offset of the first byte that differs, or undefined. */
function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const shorter = Math.min(a.length, b.length);
  for (let index = 0; index < shorter; index += 1) if (a[index] !== b[index]) return index;
  return a.length === b.length ? undefined : shorter;
}
