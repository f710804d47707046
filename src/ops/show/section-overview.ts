// SPDX-License-Identifier: Apache-2.0
/** The default section: what is this, and would it resume here? */
import type { CheckpointRow, VmaRow } from "../../gen/tables.js";
import { hostFacts } from "../../validate/host/facts.js";
import { imageRules } from "../../validate/host/image-rules.js";
import { counted, formatBytes } from "../units.js";
import type { Block, SelectedRows } from "./document.js";
import { timeText } from "./format-value.js";
import { type Scope, mmsOf, objectText, rowsOfTasks, taskTitle } from "./scope.js";
import { commandLineOf } from "./section-program.js";
import { storedInVmas } from "./section-memory.js";
import { type Section, tree, xfeatureNames } from "./section-tasks.js";

/** Command lines and problems listed; the rest is counted. */
const maxListed = 12;

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function commands(scope: Scope): Block {
  const { checkpoint } = scope;
  const rows = scope.tasks.slice(0, maxListed).map((index) => {
    const task = checkpoint.tables.tasks[index];
    const words = commandLineOf(scope, index);
    const mm = task === undefined || task.mm === null ? undefined : checkpoint.tables.mms[task.mm];
    const exe = mm === undefined || mm.exe === null ? "-" : objectText(checkpoint.tables.objects[mm.exe]);
    return [String(task?.pid ?? "?"), words === undefined || words.length === 0 ? exe : words.map(shellWord).join(" ")];
  });
  const more = scope.tasks.length - rows.length;
  return {
    heading: "Commands",
    columns: [{ title: "", align: "right" }, { title: "" }],
    rows,
    ...(more > 0 ? { lines: [`… and ${more} more (crimg show IMAGE tree)`] } : {}),
  };
}

const kindOf = (vma: VmaRow): string => {
  if (vma.isHeap !== 0) return "heap";
  if (vma.isStack !== 0) return "stack";
  const names: Readonly<Record<string, string>> = {
    anon_private: "private anonymous",
    anon_shared: "shared anonymous",
    file_private: "private file",
    file_shared: "shared file",
  };
  return names[vma.kind] ?? "the kernel's";
};

function memory(scope: Scope): Block {
  const { checkpoint } = scope;
  const sums = new Map<string, { mappings: number; size: bigint; stored: bigint }>();
  for (const mm of mmsOf(scope)) {
    const vmas = checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
    const stored = storedInVmas(checkpoint, vmas, mm);
    vmas.forEach((vma, place) => {
      const sum = sums.get(kindOf(vma)) ?? { mappings: 0, size: 0n, stored: 0n };
      sums.set(kindOf(vma), {
        mappings: sum.mappings + 1,
        size: sum.size + vma.end - vma.start,
        stored: sum.stored + (stored[place] ?? 0n),
      });
    });
  }
  const rows = [...sums]
    .sort(([, a], [, b]) => Number(b.size - a.size))
    .map(([kind, sum]) => {
      return [kind, String(sum.mappings), formatBytes(sum.size), sum.stored === 0n ? "-" : formatBytes(sum.stored)];
    });
  const columns = [
    { title: "MEMORY" },
    { title: "MAPPINGS", align: "right" },
    { title: "SIZE", align: "right" },
    { title: "STORED", align: "right" },
  ] as const;
  return { columns, rows };
}

/** What it needs to resume, and whether that is here. */
function needs(scope: Scope): Block {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const mapped = new Set(tables.vmas.flatMap((vma) => (/^file_/.test(vma.kind) && vma.object !== null ? [vma.object] : [])));
  const opened = new Set(tables.files.flatMap((file) => (file.kind === "path" && file.object !== null ? [file.object] : [])));
  const sockets = tables.files.filter((file) => file.kind === "socket").length;
  const lines = [
    `it needs ${counted(mapped.size, "mapped file")}, ${counted(opened.size, "opened file")}` +
      `${sockets === 0 ? "" : `, ${counted(sockets, "socket")}`}, ` +
      `and a processor with ${xfeatureNames(tables.checkpoint[0]?.xfeatures ?? 0n)}`,
  ];
  for (const { path } of tables.parents) lines.push(`it needs its parent image ${path}, which has pages of it`);
  const context = { checkpoint, tables, facts: hostFacts() };
  const problems: string[] = [];
  for (const rule of imageRules) {
    if (rule.severity !== "error") continue;
    for (const problem of rule.check(context)) problems.push(problem.message);
  }
  if (problems.length === 0) lines.push("all of that is here: it would resume");
  else {
    lines.push(...problems.slice(0, maxListed).map((problem) => `not here: ${problem}`));
    if (problems.length > maxListed) lines.push(`… and ${problems.length - maxListed} more (crimg validate --profile host)`);
  }
  return { heading: "To resume", lines };
}

export interface OverviewOptions {
  readonly source: string;
  readonly format: string;
  /** Look at this host too. */
  readonly checkHost?: boolean;
}

/** `monotonic clock at 1 d 2 h, goes on there`. */
function clockText({ monotonicNs, clock }: CheckpointRow): string {
  const seconds = (Number(monotonicNs / 1_000_000n) / 1000).toFixed(3);
  return `monotonic clock at ${seconds} s; at a resume it ${clock === "host" ? "is that of the machine (--clock host)" : "goes on there"}`;
}

/** The GPUs that the image needs. */
function gpuLines({ checkpoint: { tables } }: Scope): string[] {
  if (tables.cudaProcesses.length === 0) return [];
  const pids = tables.cudaProcesses.map(({ task }) => tables.tasks[task]?.pid ?? "?").join(", ");
  return tables.gpus.map(({ uuid, name, usedBytes, memoryBytes, driver }) => {
    const used = usedBytes === 0n ? "" : `, ${formatBytes(usedBytes)} in use`;
    return `GPU of ${pids}: ${name}, ${formatBytes(memoryBytes)}${used}, driver ${driver || "unknown"} (${uuid})`;
  });
}

/** GPUs and who used them, for those that have any. */
function gpuRowsOf(scope: Scope): SelectedRows {
  const { gpus, cudaProcesses } = scope.checkpoint.tables;
  return cudaProcesses.length === 0 ? {} : { gpus: gpus.map((_, row) => row), cudaProcesses: rowsOfTasks(cudaProcesses, scope) };
}

/** Of one process: where its code, data, heap and stack begin, and its directories. */
function places(scope: Scope, index: number): Block[] {
  const { mms, objects, tasks } = scope.checkpoint.tables;
  const task = tasks[index];
  const mm = task === undefined || task.mm === null ? undefined : mms[task.mm];
  if (task === undefined || mm === undefined) return [];
  const hex = (value: bigint | number): string => value.toString(16);
  const lines = [`exe ${mm.exe === null ? "-" : objectText(objects[mm.exe])}`];
  if (task.cwd !== null) lines.push(`cwd ${objectText(objects[task.cwd])}`);
  if (task.root !== null && objects[task.root]?.path !== "/") lines.push(`root ${objectText(objects[task.root])}`);
  lines.push(
    `code ${hex(mm.startCode)}-${hex(mm.endCode)}  data ${hex(mm.startData)}-${hex(mm.endData)}  ` +
      `brk ${hex(mm.startBrk)}-${hex(mm.brk)}  stack ${hex(mm.startStack)}`,
    `personality ${hex(task.personality)}  flags ${hex(task.taskFlags)}`,
  );
  return [{ heading: taskTitle(scope, index), lines }];
}

/** What is in the image, at a glance. */
export function overview(scope: Scope, { source, format, checkHost }: OverviewOptions): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const head = tables.checkpoint[0];
  const pages = tables.extents.reduce((sum, extent) => sum + extent.length, 0n);
  const lines = [
    `${counted(tables.tasks.length, "process", "processes")}, ${counted(tables.threads.length, "thread")}, ` +
      `${counted(tables.vmas.length, "mapping")}, ${formatBytes(pages)} of pages in ${counted(tables.extents.length, "extent")}`,
  ];
  if (head !== undefined) {
    const host = [head.hostName && `on ${head.hostName}`, head.kernelRelease && `Linux ${head.kernelRelease}`, head.machine];
    const made = [head.createdNs === 0n ? "" : timeText(head.createdNs), ...host].filter((part) => part !== "");
    if (made.length > 1) lines.push(`dumped ${made.join(", ")}`);
    if (head.monotonicNs > 0n) lines.push(clockText(head));
    if (head.creator !== "") lines.push(`made by ${head.creator}${head.sourceFormat === "" ? "" : ` from ${head.sourceFormat}`}`);
  }
  lines.push(...gpuLines(scope));
  if (tables.losses.length > 0) lines.push(...tables.losses.map((loss) => `left out: ${loss.count} × ${loss.text} [${loss.code}]`));
  const blocks: Block[] = [{ heading: `${source} (${format})`, lines }, commands(scope), ...tree(scope).blocks, memory(scope)];
  const [only] = scope.tasks;
  if (only !== undefined && scope.tasks.length === 1) blocks.push(...places(scope, only));
  if (checkHost === true) blocks.push(needs(scope));
  const values = scope.tasks.map((index) => ({ pid: tables.tasks[index]?.pid ?? 0, command: commandLineOf(scope, index) ?? null }));
  return {
    blocks,
    selected: { checkpoint: head === undefined ? [] : [0], tasks: scope.tasks, mms: mmsOf(scope), ...gpuRowsOf(scope) },
    values,
  };
}
