// SPDX-License-Identifier: Apache-2.0
/** The mms table: what an address space has besides its mappings. */
import { mmRow } from "../gen/tables.js";
import { failed, tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath, readStat } from "./procfs.js";
import { refusal } from "./refusal.js";
import type { Mapping } from "./smaps.js";

const PR_GET_DUMPABLE = 3;
const coredumpFilterKnown = 0x8000_0000;
const PR_GET_THP_DISABLE = 42;
const MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9;

/** The mask, marked as known (a mask of 0 is possible); 0 on a kernel without core dumps. */
function readCoredumpFilter(path: string): number {
  const text = tryReadSmall(`${path}/coredump_filter`)?.toString("latin1").trim();
  return text ? (Number.parseInt(text, 16) | coredumpFilterKnown) >>> 0 : 0;
}

/** Adds the row of a process's address space; returns its index. */
export function collectMm(context: DumpContext, process: DumpedProcess, mappings: readonly Mapping[]): number {
  const path = procPath(process.pid);
  const stat = readStat(path);
  const auxv = tryReadSmall(`${path}/auxv`);
  if (stat === undefined || auxv === undefined) throw refusal("ended", `process ${process.pid}: it ended while being dumped`);
  const injector = process.injector();
  const membarrier = injector.call("membarrier", MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0);
  const vdso = mappings.find((mapping) => mapping.name.toString("latin1") === "[vdso]");
  return (
    context.tables.mms.push(
      mmRow({
        exe: context.objects.addLink(`${path}/exe`, `program of ${process.pid} (${process.name})`),
        dumpable: Math.max(injector.call("prctl", PR_GET_DUMPABLE), 0),
        startCode: stat.field(26),
        endCode: stat.field(27),
        startStack: stat.field(28),
        startData: stat.field(45),
        endData: stat.field(46),
        startBrk: stat.field(47),
        brk: injector.callBig("brk", 0),
        argStart: stat.field(48),
        argEnd: stat.field(49),
        envStart: stat.field(50),
        envEnd: stat.field(51),
        auxv,
        vdsoBase: vdso?.start ?? 0n,
        thpDisabled: Math.max(injector.call("prctl", PR_GET_THP_DISABLE), 0),
        membarrier: failed(membarrier) ? 0 : membarrier,
        coredumpFilter: readCoredumpFilter(path),
      }),
    ) - 1
  );
}
