// SPDX-License-Identifier: Apache-2.0
/** Sections about the program and its start: environment, auxiliary vector, restore program. */
import { linkProgramOf } from "../../../formats/ckpt-elf/link.js";
import { decodeText } from "../../bytes/text.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { MemoryView } from "../../pages/memory-view.js";
import { RestoreProgram } from "../explain/program.js";
import { renderProgram } from "../explain/render.js";
import type { Block } from "./document.js";
import { type Scope, mmsOf, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

/** Argument and environment strings are at most this long (fs/exec.c: a quarter of the stack limit, at most 6 MiB). */
const maxStrings = 6n << 20n;

/** NUL-terminated strings of [start, end); undefined where the checkpoint does not hold the memory. */
export function stringsAt({ checkpoint }: Scope, mm: number, start: bigint, end: bigint): readonly string[] | undefined {
  if (end <= start || end - start > maxStrings) return end === start ? [] : undefined;
  const view = new MemoryView(checkpoint, mm);
  try {
    const strings = decodeText(view.read(start, Number(end - start))).split("\0");
    while (strings.at(-1) === "") strings.pop();
    return strings;
  } catch (error) {
    if (error instanceof CrimgError) return undefined;
    throw error;
  } finally {
    view.close();
  }
}

/** The command line of a task; undefined for a zombie, and where its memory is not there. */
export function commandLineOf(scope: Scope, task: number): readonly string[] | undefined {
  const mm = scope.checkpoint.tables.tasks[task]?.mm ?? null;
  const row = mm === null ? undefined : scope.checkpoint.tables.mms[mm];
  return mm === null || row === undefined ? undefined : stringsAt(scope, mm, row.argStart, row.argEnd);
}

/** The environment each process was started with. */
export function env(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const found = scope.tasks.map((task) => {
    const mm = tables.tasks[task]?.mm ?? null;
    const row = mm === null ? undefined : tables.mms[mm];
    const strings = mm === null || row === undefined ? undefined : stringsAt(scope, mm, row.envStart, row.envEnd);
    return { task, strings };
  });
  const blocks = found.map(
    ({ task, strings }): Block => ({ heading: taskTitle(scope, task), lines: strings ?? ["(its memory is not in the checkpoint)"] }),
  );
  const values = found.map(({ task, strings }) => ({ pid: tables.tasks[task]?.pid ?? 0, environment: strings ?? null }));
  return { blocks, selected: { tasks: scope.tasks }, values };
}

/** include/uapi/linux/auxvec.h and asm/auxvec.h, by number. */
const auxNames: Readonly<Record<number, string>> = {
  3: "PHDR",
  4: "PHENT",
  5: "PHNUM",
  6: "PAGESZ",
  7: "BASE",
  8: "FLAGS",
  9: "ENTRY",
  11: "UID",
  12: "EUID",
  13: "GID",
  14: "EGID",
  15: "PLATFORM",
  16: "HWCAP",
  17: "CLKTCK",
  23: "SECURE",
  25: "RANDOM",
  26: "HWCAP2",
  27: "RSEQ_FEATURE_SIZE",
  28: "RSEQ_ALIGN",
  31: "EXECFN",
  33: "SYSINFO_EHDR",
  51: "MINSIGSTKSZ",
};
const decimal: ReadonlySet<number> = new Set([4, 5, 6, 11, 12, 13, 14, 17, 23, 27, 28, 51]);

/** The auxiliary vector of each address space. */
export function auxv(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const mms = mmsOf(scope);
  const columns = [{ title: "TYPE", align: "right" }, { title: "NAME" }, { title: "VALUE", align: "right" }] as const;
  const blocks = mms.map((mm): Block => {
    const bytes = tables.mms[mm]?.auxv ?? new Uint8Array(0);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const rows: string[][] = [];
    for (let at = 0; at + 16 <= bytes.length; at += 16) {
      const type = Number(view.getBigUint64(at, true));
      const value = view.getBigUint64(at + 8, true);
      if (type === 0) break;
      const name = auxNames[type];
      rows.push([String(type), name === undefined ? "-" : `AT_${name}`, decimal.has(type) ? String(value) : `0x${value.toString(16)}`]);
    }
    const users = scope.tasks.filter((task) => tables.tasks[task]?.mm === mm).map((task) => taskTitle(scope, task));
    return { heading: users.join(", "), columns, rows };
  });
  return { blocks, selected: { mms } };
}

/** The restore program, as `crimg explain` has it. */
export function program(scope: Scope, source: string): Section {
  const lines = [...renderProgram(new RestoreProgram(linkProgramOf(scope.checkpoint).bytes, source))];
  return { blocks: [{ lines: lines.map((line) => line.replace(/\n$/, "")) }], selected: {}, values: [{ lines }] };
}
