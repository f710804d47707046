// SPDX-License-Identifier: Apache-2.0
/** crimg diff: how two checkpoints differ, in the terms of the model. Pages are compared piece by piece. */
import { CrimgError } from "../errors/crimg-error.js";
import type { Gpregs, VmaRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { MemoryView } from "../pages/memory-view.js";
import { fileText } from "./show/file-kinds.js";
import { protText, stateText } from "./show/scope.js";
import { vmaName } from "./show/section-memory.js";

/** Ranges of changed pages that are listed for a process. */
const maxRanges = 200;
const pageSize = 4096n;
const pieceLength = 1 << 20;

export interface Difference {
  readonly pid: number;
  readonly part: "tree" | "threads" | "registers" | "mappings" | "pages" | "descriptors";
  readonly kind: "added" | "removed" | "changed";
  /** What differs, such as `fd 4` or `rip of thread 12`. */
  readonly what: string;
  readonly a?: string;
  readonly b?: string;
}

type Facts = ReadonlyMap<string, string>;

/** Two lists of named facts against each other. */
function compare(pid: number, part: Difference["part"], a: Facts, b: Facts): Difference[] {
  const found: Difference[] = [];
  for (const [what, value] of a) {
    const other = b.get(what);
    if (other === undefined) found.push({ pid, part, kind: "removed", what, a: value });
    else if (other !== value) found.push({ pid, part, kind: "changed", what, a: value, b: other });
  }
  for (const [what, value] of b) if (!a.has(what)) found.push({ pid, part, kind: "added", what, b: value });
  return found;
}

function treeFacts({ tables }: Checkpoint): Facts {
  return new Map(
    tables.tasks.map((task) => {
      const parent = task.parent === null ? "none" : String(tables.tasks[task.parent]?.pid);
      return [`process ${task.pid}`, `${stateText(task)}, parent ${parent}, group ${task.pgid}, session ${task.sid}`];
    }),
  );
}

function threadFacts({ tables, threadsOf }: Checkpoint, indices: ReturnType<typeof threadsOf>): Facts {
  return new Map(
    indices.flatMap((index) => {
      const thread = tables.threads[index];
      if (thread === undefined) return [];
      return [
        [`thread ${thread.tid}`, `${thread.comm}, ${thread.schedPolicy}, nice ${thread.nice}, blocked 0x${thread.sigMask.toString(16)}`],
      ];
    }),
  );
}

function registerFacts({ tables }: Checkpoint, indices: readonly number[]): Facts {
  const facts = new Map<string, string>();
  for (const index of indices) {
    const thread = tables.threads[index];
    if (thread === undefined) continue;
    for (const name of Object.keys(thread.regs) as (keyof Gpregs)[]) {
      facts.set(`${name} of thread ${thread.tid}`, `0x${thread.regs[name].toString(16)}`);
    }
    facts.set(`extended state of thread ${thread.tid}`, Buffer.from(thread.xstate).toString("base64"));
  }
  return facts;
}

function vmasOf(checkpoint: Checkpoint, mm: number): VmaRow[] {
  return checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
}

function mappingFacts(checkpoint: Checkpoint, mm: number): Facts {
  return new Map(
    vmasOf(checkpoint, mm).map((vma) => {
      const name = vmaName(checkpoint, vma);
      return [`${vma.start.toString(16)}-${vma.end.toString(16)}`, `${protText(vma)} offset 0x${vma.offset.toString(16)} ${name}`.trim()];
    }),
  );
}

function descriptorFacts(checkpoint: Checkpoint, task: number): Facts {
  const { tables } = checkpoint;
  return new Map(
    checkpoint.descriptorsOf(task).flatMap((index) => {
      const row = tables.descriptors[index];
      const file = row === undefined ? undefined : tables.files[row.file];
      if (row === undefined || file === undefined) return [];
      const flags = `flags 0${file.flags.toString(8)}${row.flags === 0 ? "" : " close-on-exec"}`;
      return [[`fd ${row.fd}`, `${file.kind} ${fileText(checkpoint, file)}, ${flags}, position ${file.pos}`]];
    }),
  );
}

/** Bytes of a range; undefined where the checkpoint does not hold them. */
function read(view: MemoryView, address: bigint, into: Uint8Array): boolean {
  try {
    view.readInto(address, into);
    return true;
  } catch (error) {
    if (error instanceof CrimgError) return false;
    throw error;
  }
}

/** Ranges that both have mapped and at least one has stored: nothing else can differ unseen. */
function* comparable(a: VmaRow[], b: VmaRow[]): Generator<readonly [bigint, bigint]> {
  let at = 0;
  for (const one of a) {
    while (at < b.length && (b[at] as VmaRow).end <= one.start) at++;
    for (let index = at; index < b.length; index++) {
      const other = b[index] as VmaRow;
      if (other.start >= one.end) break;
      const start = one.start > other.start ? one.start : other.start;
      const end = one.end < other.end ? one.end : other.end;
      if (start < end) yield [start, end];
    }
  }
}

/** Changed pages as ranges of addresses. */
function pageDifferences(pid: number, a: Checkpoint, mmA: number, b: Checkpoint, mmB: number): Difference[] {
  const views = [new MemoryView(a, mmA), new MemoryView(b, mmB)] as const;
  const left = new Uint8Array(pieceLength);
  const right = new Uint8Array(pieceLength);
  const ranges: { start: bigint; end: bigint }[] = [];
  let pages = 0;
  const changed = (start: bigint): void => {
    pages += 1;
    const last = ranges.at(-1);
    if (last?.end === start) last.end = start + pageSize;
    else ranges.push({ start, end: start + pageSize });
  };
  try {
    for (const [start, end] of comparable(vmasOf(a, mmA), vmasOf(b, mmB))) {
      for (const [from, to] of storedParts(views, start, end)) {
        for (let address = from; address < to; address += BigInt(pieceLength)) {
          const length = to - address < BigInt(pieceLength) ? Number(to - address) : pieceLength;
          if (!read(views[0], address, left.subarray(0, length)) || !read(views[1], address, right.subarray(0, length))) continue;
          for (let page = 0; page < length; page += Number(pageSize)) {
            const end_ = Math.min(length, page + Number(pageSize));
            if (Buffer.compare(left.subarray(page, end_), right.subarray(page, end_)) !== 0) changed(address + BigInt(page));
          }
        }
      }
    }
  } finally {
    for (const view of views) view.close();
  }
  if (pages === 0) return [];
  const listed = ranges.slice(0, maxRanges).map(({ start, end }) => `${start.toString(16)}-${end.toString(16)}`);
  const more = ranges.length - listed.length;
  return [
    {
      pid,
      part: "pages",
      kind: "changed",
      what: `${pages} page${pages === 1 ? "" : "s"}`,
      b: `${listed.join(" ")}${more > 0 ? ` and ${more} ranges more` : ""}`,
    },
  ];
}

/** Parts of a range that are stored on one side at least, joined. */
function* storedParts(views: readonly [MemoryView, MemoryView], start: bigint, end: bigint): Generator<readonly [bigint, bigint]> {
  const runs = views
    .flatMap((view) => [...view.runs(start, end)].filter(({ origin }) => origin.kind === "stored"))
    .sort((one, other) => (one.address < other.address ? -1 : one.address > other.address ? 1 : 0));
  let from = 0n;
  let to = 0n;
  for (const { address, length } of runs) {
    if (address > to) {
      if (to > from) yield [from, to];
      from = address;
      to = address + length;
    } else if (address + length > to) to = address + length;
  }
  if (to > from) yield [from, to];
}

/** Everything that differs, process by process. */
export function diffCheckpoints(a: Checkpoint, b: Checkpoint): Difference[] {
  const found = compare(0, "tree", treeFacts(a), treeFacts(b)).map((one) => ({ ...one, pid: Number(one.what.replace("process ", "")) }));
  a.tables.tasks.forEach(({ pid, mm }, taskA) => {
    const taskB = b.taskIndexOf(pid);
    const other = taskB === undefined ? undefined : b.tables.tasks[taskB];
    if (taskB === undefined || other === undefined) return;
    const [threadsA, threadsB] = [a.threadsOf(taskA), b.threadsOf(taskB)];
    found.push(...compare(pid, "threads", threadFacts(a, threadsA), threadFacts(b, threadsB)));
    const common = new Set(threadsA.map((index) => a.tables.threads[index]?.tid));
    const both = threadsB.filter((index) => common.has(b.tables.threads[index]?.tid));
    const tids = new Set(both.map((index) => b.tables.threads[index]?.tid));
    const same = threadsA.filter((index) => tids.has(a.tables.threads[index]?.tid));
    found.push(...compare(pid, "registers", registerFacts(a, same), registerFacts(b, both)));
    found.push(...compare(pid, "descriptors", descriptorFacts(a, taskA), descriptorFacts(b, taskB)));
    if (mm === null || other.mm === null) return;
    found.push(...compare(pid, "mappings", mappingFacts(a, mm), mappingFacts(b, other.mm)));
    found.push(...pageDifferences(pid, a, mm, b, other.mm));
  });
  return found;
}

const longestValue = 160;

function short(text: string | undefined): string {
  if (text === undefined) return "";
  return text.length > longestValue ? `${text.slice(0, longestValue)}…` : text;
}

/** As text: `-` what only the first has, `+` what only the second has, `!` what differs. */
export function renderDiff(differences: readonly Difference[]): string {
  const lines: string[] = [];
  let heading = "";
  for (const { pid, part, kind, what, a, b } of differences) {
    const next = part === "tree" ? "tree" : `process ${pid}: ${part}`;
    if (next !== heading) lines.push(`${lines.length === 0 ? "" : "\n"}${next}`);
    heading = next;
    if (kind === "removed") lines.push(`  - ${what}: ${short(a)}`);
    else if (kind === "added") lines.push(`  + ${what}: ${short(b)}`);
    else if (a === undefined) lines.push(`  ! ${what}: ${short(b)}`);
    else lines.push(`  ! ${what}: ${short(a)}  ->  ${short(b)}`);
  }
  return `${lines.join("\n")}\n`;
}
