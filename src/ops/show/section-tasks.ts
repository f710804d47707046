// SPDX-License-Identifier: Apache-2.0
/** Sections about processes: tree, threads, regs, creds, limits. */
import type { Gpregs, RlimitRow, ThreadRow } from "../../gen/tables.js";
import type { JsonValue } from "../../errors/json.js";
import { formatBytes } from "../units.js";
import type { Block, SelectedRows } from "./document.js";
import { capabilityNames, signalSetNames } from "./names.js";
import { type Scope, commOf, rowsOfTasks, stateText, syscallText, taskTitle } from "./scope.js";

export interface Section {
  readonly blocks: readonly Block[];
  readonly selected: SelectedRows;
  /** What is no row of a table, for JSON. */
  readonly values?: readonly JsonValue[];
  /** Number of hits, for sections that search. */
  readonly found?: number;
}

const hex = (value: bigint): string => value.toString(16);

/** Bytes stored for an address space. */
function storedBytes({ checkpoint }: Scope, mm: number | null): bigint {
  return mm === null ? 0n : checkpoint.extentsOf({ mm }).reduce((sum, extent) => sum + extent.length, 0n);
}

/** One line a process, indented by descent; cycles and orphans are shown once, at the left. */
export function tree(scope: Scope): Section {
  const { checkpoint } = scope;
  const wanted = new Set(scope.tasks);
  const seen = new Set<number>();
  const rows: string[][] = [];
  const visit = (index: number, prefix: string, branch: string): void => {
    const task = checkpoint.tables.tasks[index];
    if (task === undefined || seen.has(index) || !wanted.has(index)) return;
    seen.add(index);
    const threads = checkpoint.threadsOf(index).length;
    const fds = checkpoint.descriptorsOf(index).length;
    rows.push([
      `${prefix}${branch}${task.pid} ${commOf(checkpoint, index)}`,
      stateText(task),
      String(task.pgid),
      String(task.sid),
      String(threads),
      String(fds),
      task.mm === null ? "-" : formatBytes(storedBytes(scope, task.mm)),
    ]);
    const children = checkpoint.childrenOf(index).filter((child) => wanted.has(child));
    const inner = branch === "" ? prefix : `${prefix}${branch === "├─ " ? "│  " : "   "}`;
    children.forEach((child, place) => visit(child, inner, place === children.length - 1 ? "└─ " : "├─ "));
  };
  const roots = scope.tasks.filter((index) => {
    const parent = checkpoint.tables.tasks[index]?.parent ?? null;
    return parent === null || !wanted.has(parent);
  });
  for (const index of [...roots, ...scope.tasks]) visit(index, "", "");
  const columns = [
    { title: "PROCESS" },
    { title: "STATE" },
    { title: "PGID", align: "right" },
    { title: "SID", align: "right" },
    { title: "THREADS", align: "right" },
    { title: "FDS", align: "right" },
    { title: "STORED", align: "right" },
  ] as const;
  return { blocks: [{ columns, rows }], selected: { tasks: scope.tasks } };
}

/** One line a thread. */
export function threads(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const indices = rowsOfTasks(tables.threads, scope);
  const rows = indices.map((index) => {
    const thread = tables.threads[index] as ThreadRow;
    const sched = thread.schedPriority > 0 ? `${thread.schedPolicy} ${thread.schedPriority}` : thread.schedPolicy;
    return [
      String(tables.tasks[thread.task]?.pid ?? "?"),
      String(thread.tid),
      thread.comm,
      hex(thread.regs.ip),
      hex(thread.regs.sp),
      syscallText(thread),
      sched,
      String(thread.nice),
      signalSetNames(thread.sigMask),
      `${thread.xstate.length}`,
    ];
  });
  const columns = [
    { title: "PID", align: "right" },
    { title: "TID", align: "right" },
    { title: "NAME" },
    { title: "IP", align: "right" },
    { title: "SP", align: "right" },
    { title: "IN" },
    { title: "SCHED" },
    { title: "NICE", align: "right" },
    { title: "BLOCKED" },
    { title: "XSTATE", align: "right" },
  ] as const;
  return { blocks: [{ columns, rows }], selected: { threads: indices } };
}

const registerOrder: readonly (readonly [keyof Gpregs, string])[] = [
  ["ax", "ax"],
  ["bx", "bx"],
  ["cx", "cx"],
  ["dx", "dx"],
  ["si", "si"],
  ["di", "di"],
  ["bp", "bp"],
  ["sp", "sp"],
  ["r8", "r8"],
  ["r9", "r9"],
  ["r10", "r10"],
  ["r11", "r11"],
  ["r12", "r12"],
  ["r13", "r13"],
  ["r14", "r14"],
  ["r15", "r15"],
  ["ip", "ip"],
  ["flags", "flags"],
  ["origAx", "orig_ax"],
  ["cs", "cs"],
  ["ss", "ss"],
  ["ds", "ds"],
  ["es", "es"],
  ["fs", "fs"],
  ["gs", "gs"],
  ["fsBase", "fs_base"],
  ["gsBase", "gs_base"],
];

// Intel SDM vol. 1, 3.4.3
const flagNames = [
  "CF",
  "",
  "PF",
  "",
  "AF",
  "",
  "ZF",
  "SF",
  "TF",
  "IF",
  "DF",
  "OF",
  "",
  "",
  "NT",
  "",
  "RF",
  "VM",
  "AC",
  "VIF",
  "VIP",
  "ID",
];
const xstateNames = [
  "x87",
  "SSE",
  "AVX",
  "BNDREGS",
  "BNDCSR",
  "opmask",
  "ZMM_Hi256",
  "Hi16_ZMM",
  "PT",
  "PKRU",
  "PASID",
  "CET_U",
  "CET_S",
  "HDC",
  "UINTR",
  "LBR",
  "HWP",
  "XTILECFG",
  "XTILEDATA",
  "APX",
];

function flagBits(flags: bigint): string {
  return flagNames.filter((name, bit) => name !== "" && (flags >> BigInt(bit)) & 1n).join(" ");
}

/** Names of the state components of an XCR0. */
export function xfeatureNames(xfeatures: bigint): string {
  const names = xstateNames.filter((_, bit) => (xfeatures >> BigInt(bit)) & 1n);
  return names.length === 0 ? "x87 SSE" : names.join(" ");
}

/** `x87 SSE AVX`: the components in use, as xstate_bv (offset 512) says. */
export function xstateText(xstate: Uint8Array): string {
  if (xstate.length === 0) return "none stored";
  if (xstate.length < 520) return "x87 SSE (legacy area)";
  const used = Buffer.from(xstate.buffer, xstate.byteOffset, xstate.byteLength).readBigUInt64LE(512);
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) if ((used >> BigInt(bit)) & 1n) names.push(xstateNames[bit] ?? `bit ${bit}`);
  return names.length === 0 ? "all initial" : names.join(" ");
}

/** All registers of every thread, three columns of them. */
export function regs(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const indices = rowsOfTasks(tables.threads, scope);
  const blocks = indices.map((index): Block => {
    const thread = tables.threads[index] as ThreadRow;
    const perColumn = Math.ceil(registerOrder.length / 3);
    const rows = Array.from({ length: perColumn }, (_, line) => {
      return [0, 1, 2].flatMap((column) => {
        const register = registerOrder[column * perColumn + line];
        return register === undefined ? ["", ""] : [register[1], hex(thread.regs[register[0]]).padStart(16)];
      });
    });
    const columns = Array.from({ length: 6 }, () => ({ title: "" }));
    const tls = thread.tlsArray.map(({ a, b }) => `${a.toString(16)} ${b.toString(16)}`);
    const lines = [`flags: ${flagBits(thread.regs.flags)}`, `xstate: ${xstateText(thread.xstate)}`, `tls: ${tls.join(", ")}`];
    if (syscallText(thread) !== "-") {
      const error = BigInt.asIntN(64, thread.regs.ax);
      lines.push(`stopped in ${syscallText(thread)}${error < 0n ? `, to be restarted (ax ${error})` : ""}`);
    }
    return { heading: `thread ${thread.tid} (${thread.comm || "-"}) of ${taskTitle(scope, thread.task)}`, columns, rows, lines };
  });
  return { blocks, selected: { threads: indices } };
}

/** Credentials of each thread; those of equal threads once. */
export function creds(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const indices = rowsOfTasks(tables.threads, scope);
  const holders = new Map<number, number[]>();
  for (const index of indices) {
    const thread = tables.threads[index];
    if (thread === undefined || thread.creds === null) continue;
    holders.set(thread.creds, [...(holders.get(thread.creds) ?? []), thread.tid]);
  }
  const blocks = [...holders].flatMap(([row, tids]): Block[] => {
    const cred = tables.creds[row];
    if (cred === undefined) return [];
    const groups = Buffer.from(cred.groups);
    const list = Array.from({ length: groups.length >> 2 }, (_, place) => groups.readUInt32LE(4 * place));
    return [
      {
        heading: `threads ${tids.join(", ")}`,
        lines: [
          `uid real ${cred.uid}, effective ${cred.euid}, saved ${cred.suid}, filesystem ${cred.fsuid}`,
          `gid real ${cred.gid}, effective ${cred.egid}, saved ${cred.sgid}, filesystem ${cred.fsgid}`,
          `groups ${list.join(" ") || "none"}`,
          `permitted ${capabilityNames(cred.capPermitted)}`,
          `effective ${capabilityNames(cred.capEffective)}`,
          `inheritable ${capabilityNames(cred.capInheritable)}`,
          `bounding ${capabilityNames(cred.capBounding)}`,
          `ambient ${capabilityNames(cred.capAmbient)}`,
          `securebits 0x${cred.securebits.toString(16)}`,
        ],
      },
    ];
  });
  return { blocks, selected: { creds: [...holders.keys()] } };
}

const infinity = 0xffffffffffffffffn;

/** Resource limits, one table a process. */
export function limits(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const indices = rowsOfTasks(tables.rlimits, scope);
  const text = (value: bigint): string => (value === infinity ? "unlimited" : String(value));
  const columns = [{ title: "LIMIT" }, { title: "SOFT", align: "right" }, { title: "HARD", align: "right" }] as const;
  const blocks = scope.tasks.map((task): Block => {
    const rows = indices.flatMap((index) => {
      const limit = tables.rlimits[index] as RlimitRow;
      return limit.task === task ? [[limit.resource, text(limit.soft), text(limit.hard)]] : [];
    });
    return { heading: taskTitle(scope, task), columns, rows };
  });
  return { blocks, selected: { rlimits: indices } };
}
