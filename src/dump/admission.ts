// SPDX-License-Identifier: Apache-2.0
/** What can be told to be undumpable before anything is touched. */
import { tryReadSmall, uname } from "../native/index.js";
import { listThreads, PF_KTHREAD, procPath, processExists, readStat, readStatus, type ProcStat } from "./procfs.js";
import { refusal } from "./refusal.js";

/** Refuses pids that name nothing, ourselves, or one of our ancestors (freezing it may freeze what drives us). */
export function assertDumpable(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 0 || pid > 0x7fffffff) {
    throw refusal("bad-pid", `${pid} is not a process id`);
  }
  if (!processExists(pid)) {
    throw refusal("no-process", `process ${pid}: no such process`, { hint: "`ps -e` lists the processes that run." });
  }
  const status = readStatus(procPath(pid));
  const tgid = Number(status?.get("Tgid") ?? pid);
  if (tgid !== pid) {
    throw refusal("thread", `${pid} is a thread of process ${tgid}`, { hint: `Dump the process: crimg dump ${tgid}` });
  }
  if (pid === process.pid) throw refusal("self", `process ${pid} is crimg itself`);
  for (let ancestor = process.ppid; ancestor > 0; ) {
    if (ancestor === pid) {
      throw refusal("ancestor", `process ${pid} is an ancestor of crimg itself`, {
        hint: "Start crimg from elsewhere, such as another terminal.",
      });
    }
    const stat = readStat(procPath(ancestor));
    if (stat === undefined) break;
    ancestor = Number(stat.field(4));
  }
  const stat = readStat(procPath(pid));
  if (stat?.state === "Z" && (listThreads(pid) ?? []).length > 1) {
    throw refusal("dead-leader", `process ${pid}: its first thread has ended while others run on, which crimg cannot make again`, {
      hint: "gcore and debuggers cannot take it either; the program has to end its last thread, or to be written so that main() stays.",
    });
  }
  if (stat?.state === "Z") {
    throw refusal("zombie", `process ${pid}: it has ended already and waits for its parent`);
  }
}

/** Refuses kernel threads and tasks that somebody traces. */
export function assertTraceable(pid: number, tid: number, stat: ProcStat): void {
  if ((stat.field(9) & PF_KTHREAD) !== 0n) {
    throw refusal("kernel-thread", `process ${pid} (${stat.comm.toString("latin1")}) is a kernel thread`);
  }
  const status = readStatus(procPath(pid, tid));
  const tracer = Number(status?.get("TracerPid") ?? 0);
  if (tracer !== 0) {
    const name = tryReadSmall(`/proc/${tracer}/comm`)?.toString("utf8").trim() ?? "?";
    throw refusal("traced", `process ${pid}: thread ${tid} is already traced by process ${tracer} (${name})`, {
      hint: "End the debugger or strace first.",
    });
  }
}

/** Refuses code segments other than the 64-bit one. `cs` is the register of the stopped thread. */
export function assert64Bit(pid: number, cs: bigint): void {
  if (cs === 0x33n) return;
  throw refusal("32-bit", `process ${pid} is a 32-bit program; crimg handles ${uname().machine} only`, {
    hint: "Run a 64-bit build of it. docs/architecture.md says what it would take.",
  });
}
