// SPDX-License-Identifier: Apache-2.0
/** The mms table: what an address space has besides its mappings. */
import { mmRow } from "../gen/tables.js";
import { close, failed, openFlag, tryFstat, tryOpen, tryReadSmall } from "../native/index.js";
import { statesOfMm } from "../state/states.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath, readStat } from "./procfs.js";
import { refusal } from "./refusal.js";
import { findNamed, type Mapping } from "./smaps.js";
import { readStates, ThreadAsking } from "./state-reader.js";

/** Adds the row of a process's address space; returns its index. */
export function collectMm(context: DumpContext, process: DumpedProcess, mappings: readonly Mapping[]): number {
  const path = procPath(process.pid);
  const stat = process.own?.stat ?? readStat(path);
  const auxv = process.own?.file("auxv") ?? tryReadSmall(`${path}/auxv`);
  if (stat === undefined || auxv === undefined) throw refusal("ended", `process ${process.pid}: it ended while being dumped`);
  const injector = process.injector();
  const vdso = findNamed(mappings, "[vdso]");
  const exe = context.objects.addLink(`${path}/exe`, `program of ${process.pid} (${process.name})`, undefined, process);
  storeProgram(context, exe, `${path}/exe`);
  const states = readStates(statesOfMm, new ThreadAsking(process, process.pid, injector, process.own));
  // A mapping can keep a key that was freed since; with a key that is not allocated it could not be made again.
  const used = (mappings[0]?.table.summary.keys ?? 0) & ~1;
  return (
    context.tables.mms.push(
      mmRow({
        exe,
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
        ...states,
        pkeys: (states.pkeys ?? 0) | used,
      }),
    ) - 1
  );
}

/** A program whose file was removed: this link leads to it for whoever may trace the process, unlike those of map_files. */
function storeProgram({ objects }: DumpContext, exe: number, link: string): void {
  if (!objects.needsContents(exe)) return;
  const fd = tryOpen(link, openFlag.RDONLY);
  if (failed(fd)) return;
  const stat = tryFstat(fd);
  if (typeof stat === "number") close(fd);
  else objects.storeContents(exe, fd, stat.size);
}
