// SPDX-License-Identifier: Apache-2.0
/** crimg show --html: one page that needs no other file and no network. The script is bundled by the build (browser/). */
import { closeSync, existsSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { linkProgramOf } from "../../../formats/ckpt-elf/link.js";
import type { FormatAdapter } from "../../adapter/format.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { readResource } from "../../resources/resources.js";
import { RestoreProgram } from "../explain/program.js";
import { renderProgram } from "../explain/render.js";
import { fileText } from "../show/file-kinds.js";
import { timeText } from "../show/format-value.js";
import { type Scope, commOf, protText, stateText, syscallText } from "../show/scope.js";
import { vmaName } from "../show/section-memory.js";
import { commandLineOf } from "../show/section-program.js";
import { counted, formatBytes } from "../units.js";
import { validateCheckpoint } from "../validate.js";
import type { MappingData, ProcessData, ReportData } from "./data.js";

/** Lines of the restore program that the page holds; `crimg explain` has all. */
const maxProgramLines = 3000;

export interface ReportOptions {
  readonly source: string;
  readonly format: FormatAdapter;
  readonly output: string;
  readonly force: boolean;
}

function mappings(checkpoint: Checkpoint, mm: number): MappingData[] {
  const extents = checkpoint.extentsOf({ mm });
  let next = 0;
  return checkpoint.vmasOf(mm).flatMap((index): MappingData[] => {
    const vma = checkpoint.tables.vmas[index];
    if (vma === undefined) return [];
    const stored: number[] = [];
    while (next < extents.length && (extents[next]?.address ?? 0n) + (extents[next]?.length ?? 0n) <= vma.start) next++;
    for (let place = next; place < extents.length; place++) {
      const extent = extents[place];
      if (extent === undefined || extent.address >= vma.end) break;
      const from = extent.address > vma.start ? extent.address : vma.start;
      const to = extent.address + extent.length < vma.end ? extent.address + extent.length : vma.end;
      stored.push(Number(from - vma.start), Number(to - from));
    }
    if (vma.object !== null && /shared/.test(vma.kind)) {
      for (const extent of checkpoint.extentsOf({ object: vma.object })) {
        const from = extent.address - vma.offset;
        if (from >= 0n && from < vma.end - vma.start) stored.push(Number(from), Number(extent.length));
      }
    }
    const kind = vma.isHeap !== 0 ? "heap" : vma.isStack !== 0 ? "stack" : vma.kind;
    const name = vmaName(checkpoint, vma);
    return [{ a: vma.start.toString(16), n: Number(vma.end - vma.start), kind, prot: protText(vma), name, stored }];
  });
}

function processes(scope: Scope): ProcessData[] {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  return tables.tasks.map((task, index) => ({
    pid: task.pid,
    name: commOf(checkpoint, index),
    command: (commandLineOf(scope, index) ?? []).join(" "),
    state: stateText(task),
    parent: task.parent ?? -1,
    space: task.mm ?? -1,
    threads: checkpoint.threadsOf(index).flatMap((row) => {
      const thread = tables.threads[row];
      if (thread === undefined) return [];
      const { tid, comm, regs } = thread;
      return [{ tid, name: comm, ip: regs.ip.toString(16), sp: regs.sp.toString(16), in: syscallText(thread) }];
    }),
    descriptors: checkpoint.descriptorsOf(index).flatMap((row) => {
      const descriptor = tables.descriptors[row];
      return descriptor === undefined ? [] : [{ fd: descriptor.fd, file: descriptor.file, cloexec: (descriptor.flags & 1) !== 0 }];
    }),
  }));
}

function program(checkpoint: Checkpoint, source: string): ReportData["program"] {
  const counts = new Map<string, number>();
  const lines: string[] = [];
  let total = 0;
  try {
    for (const line of renderProgram(new RestoreProgram(linkProgramOf(checkpoint).bytes, source))) {
      total += 1;
      const name = /(?:= )?\b([a-z_0-9]+)\(/.exec(line)?.[1];
      if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
      if (lines.length < maxProgramLines) lines.push(line.replace(/\n$/, ""));
    }
  } catch (error) {
    if (!(error instanceof CrimgError)) throw error;
    lines.push(`It cannot be resumed: ${error.message}`);
  }
  return { counts: [...counts].sort(([, a], [, b]) => b - a), lines, total };
}

function facts(scope: Scope, format: string): [string, string][] {
  const { tables } = scope.checkpoint;
  const head = tables.checkpoint[0];
  const stored = tables.extents.reduce((sum, extent) => sum + extent.length, 0n);
  const size = tables.vmas.reduce((sum, vma) => sum + vma.end - vma.start, 0n);
  const found: [string, string][] = [
    ["Format", format],
    ["Command", (commandLineOf(scope, head?.rootTask ?? 0) ?? []).join(" ")],
    ["Dumped", head === undefined || head.createdNs === 0n ? "" : timeText(head.createdNs)],
    ["Host", head?.hostName ?? ""],
    ["Kernel", head === undefined || head.kernelRelease === "" ? "" : `Linux ${head.kernelRelease}, ${head.machine}`],
    ["Made by", head?.creator ?? ""],
    ["Tree", `${counted(tables.tasks.length, "process", "processes")}, ${counted(tables.threads.length, "thread")}`],
    ["Memory", `${formatBytes(size)} in ${counted(tables.vmas.length, "mapping")}, ${formatBytes(stored)} stored`],
  ];
  return found.filter(([, value]) => value !== "");
}

function dataOf(checkpoint: Checkpoint, { source, format }: ReportOptions): ReportData {
  const scope: Scope = { checkpoint, tasks: checkpoint.tables.tasks.map((_, index) => index), isTree: checkpoint.tables.tasks.length > 1 };
  const { tables } = checkpoint;
  const { findings } = validateCheckpoint(checkpoint, { source, format });
  return {
    title: source,
    facts: facts(scope, format.title),
    processes: processes(scope),
    spaces: tables.mms.map((_, mm) => mappings(checkpoint, mm)),
    files: tables.files.map((file) => ({ kind: file.kind, what: fileText(checkpoint, file), position: String(file.pos) })),
    findings: findings.map(({ severity, message }) => ({ severity, message })),
    losses: tables.losses.map(({ count, text }) => `${count} × ${text}`),
    program: program(checkpoint, source),
  };
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

/** The page. */
export function reportPage(checkpoint: Checkpoint, options: ReportOptions): string {
  // "<" in a string of the data must not end the script element.
  const data = JSON.stringify(dataOf(checkpoint, options)).replaceAll("<", "\\u003c");
  const part = (name: string): string => Buffer.from(readResource(`dist/bundle/report/${name}`)).toString("utf8");
  return [
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n',
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'\">\n",
    `<title>${escaped(options.source)}</title>\n<style>${part("page.css")}</style>\n</head>\n<body>\n<main id="page"></main>\n`,
    `<script type="application/json" id="data">${data}</script>\n`,
    `<script>${part("page.js").replaceAll("</script", "<\\/script")}</script>\n`,
    "</body>\n</html>\n",
  ].join("");
}

/** Writes the page under its name when it is whole. @throws CrimgError `output.exists` */
export function writeReport(checkpoint: Checkpoint, options: ReportOptions): void {
  const { output, force } = options;
  if (!force && existsSync(output)) {
    throw new CrimgError("output.exists", `${output} exists already`, { source: output, hint: "--force replaces it" });
  }
  const page = reportPage(checkpoint, options);
  // It names files and shows command lines: for the owner only, as images are.
  const temporary = `${output}.${randomBytes(6).toString("hex")}.tmp`;
  const fd = openSync(temporary, "wx", 0o600);
  try {
    const bytes = Buffer.from(page, "utf8");
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    renameSync(temporary, output);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}
