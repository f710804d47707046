// SPDX-License-Identifier: Apache-2.0
/** Locks and leases, as /proc/PID/fdinfo has them: those made through a description, and a process's own posix locks. */
import { decodeText } from "../../bytes/text.js";
import { fileLockRow, type FileLockRow, type LockType } from "../../gen/tables.js";
import { tryReadSmall } from "../../native/index.js";
import type { DumpedProcess } from "../context.js";
import { type Collecting, type Description, nameOf } from "./context.js";
import { parseFdInfo } from "./fdinfo.js";

const accessMode = 3;
const types: Readonly<Record<string, LockType>> = { READ: "read", WRITE: "write", UNLCK: "unlock" };

/** `1: POSIX  ADVISORY  WRITE 4711 fe:00:2154705 5 14`; the end is the last byte, or EOF. */
const linePattern = /^\d+: (POSIX|OFDLCK|FLOCK|LEASE)\s+(\w+)\s+(READ|WRITE|UNLCK) -?\d+ \S+ (\d+) (\d+|EOF)$/;

/** Adds the rows of all locks; every description has its row. Refuses a kind of lock that is not known. */
export function collectLocks(collecting: Collecting): void {
  const { context, descriptions } = collecting;
  // The kernel's list is long where others have many: it is read where several processes have a description.
  let posixInodes: ReadonlySet<bigint> | undefined;
  const seen = new Set<string>();
  const add = (row: FileLockRow, ino: bigint): void => {
    // A posix lock shows at every descriptor of the file.
    const key = `${row.task} ${row.task === null ? row.file : ino} ${row.kind} ${row.type} ${row.start} ${row.length}`;
    if (seen.has(key)) return;
    seen.add(key);
    context.tables.fileLocks.push(row);
  };
  for (const description of descriptions) {
    const { holders, info, row: file } = description;
    // Most have none.
    if (file === undefined || (holders.length === 1 && info.locks.length === 0)) continue;
    const { stat } = description;
    const [first, ...others] = holders;
    const isIgnored = context.ignored.classes.has("locks");
    for (const text of info.locks) {
      const row = isIgnored ? undefined : lockOf(description, file, first?.process, text);
      if (row !== undefined) add(row, stat.ino);
      else context.leaveOut("locks", `${nameOf(description)}: a lock on ${decodeText(description.link)} (${text})`);
    }
    if (isIgnored) continue;
    if (others.every(({ process }) => process === first?.process)) continue;
    posixInodes ??= inodesWithPosixLocks();
    if (!posixInodes.has(stat.ino)) continue;
    const processes = new Set<DumpedProcess | undefined>([first?.process]);
    for (const { process, fd } of others) {
      if (processes.has(process)) continue;
      processes.add(process);
      const lines = tryReadSmall(`/proc/${process.pid}/fdinfo/${fd}`)?.toString("latin1") ?? "";
      for (const text of parseFdInfo(lines)?.locks ?? []) {
        const row = lockOf(description, file, process, text);
        if (row?.kind === "posix") add(row, stat.ino);
      }
    }
  }
}

/** Inodes of files on which any process here has a posix lock: most have none, and need not be asked again. */
function inodesWithPosixLocks(): ReadonlySet<bigint> {
  const text = tryReadSmall("/proc/locks")?.toString("latin1") ?? "";
  return new Set([...text.matchAll(/ POSIX .* [0-9a-f]+:[0-9a-f]+:(\d+) /g)].map((found) => BigInt(found[1] ?? 0)));
}

function lockOf({ flags }: Description, file: number, process: DumpedProcess | undefined, text: string): FileLockRow | undefined {
  const [, word, state, shown, start, end] = linePattern.exec(text) ?? [];
  const type = types[shown ?? ""];
  if (type === undefined || start === undefined || end === undefined) return undefined;
  const first = BigInt(start);
  const range = { start: first, length: end === "EOF" ? 0n : BigInt(end) - first + 1n };
  switch (word) {
    case "POSIX":
      return fileLockRow({ kind: "posix", type, target: type, file, task: process?.row ?? null, ...range });
    case "OFDLCK":
      return fileLockRow({ kind: "ofd", type, target: type, file, ...range });
    case "FLOCK":
      return fileLockRow({ kind: "flock", type, target: type, file });
    default: {
      // Of a lease that is being broken the kernel shows what will be left. One to read is only on files not open to write.
      const was = state === "ACTIVE" ? type : type === "read" || (flags & accessMode) !== 0 ? "write" : "read";
      return fileLockRow({ kind: "lease", type: was, target: type, file });
    }
  }
}
