// SPDX-License-Identifier: Apache-2.0
/**
 * Seccomp of every thread: strict mode, or a chain of filters, which the kernel shows to a tracer with CAP_SYS_ADMIN
 * (PTRACE_SECCOMP_GET_FILTER, ptrace(2)). Filters in common are recognised by being equal from the first one on.
 */
import { type SeccompFilterRow, seccompFilterRow, seccompStateRow } from "../gen/tables.js";
import { getSeccompFilter, getSeccompFlags } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";

const STRICT = 1;
/** BPF_RET | BPF_K, and the action that asks another process (SECCOMP_RET_USER_NOTIF). */
const [BPF_RET, RET_USER_NOTIF, RET_ACTION] = [0x06, 0x7fc0_0000, 0xffff_0000];

const modeOf = ({ pid, facts }: DumpedProcess, tid: number): number =>
  Number((facts?.of({ tid })?.status ?? readStatus(procPath(pid, tid)))?.get("Seccomp") ?? 0);

/** Takes the seccomp of all threads out of force, so that it does not judge the calls that are injected. */
export function suspendSeccomp(context: DumpContext, process: DumpedProcess): void {
  for (const { tid } of process.frozen.threads) {
    if (modeOf(process, tid) === 0 || context.tree.suspendSeccomp(tid)) continue;
    // Injected calls under the filter may end the program that is only to be looked at.
    throw refusal(
      "seccomp-questions",
      `process ${process.pid} (${process.name}): thread ${tid} has a seccomp filter, which would judge the calls that crimg ` +
        `makes in it`,
      { hint: "Run crimg as root and without a seccomp filter of its own: then the filter can be suspended meanwhile." },
    );
  }
}

/** Adds the states of the threads of a process; `rows` are theirs in `threads`. */
export function collectSeccomp(context: DumpContext, process: DumpedProcess, rows: readonly number[]): void {
  const { seccompStates } = context.tables;
  process.frozen.threads.forEach(({ tid }, index) => {
    const mode = modeOf(process, tid);
    const thread = rows[index];
    if (mode === 0 || thread === undefined) return;
    const who = `thread ${tid} of ${process.pid} (${process.name})`;
    if (context.ignored.classes.has("seccomp")) {
      context.lose("dump.seccomp", `${who}: seccomp ${mode === STRICT ? "strict mode" : "filter"}`);
      return;
    }
    if (mode === STRICT) {
      seccompStates.push(seccompStateRow({ thread, mode: "strict" }));
      return;
    }
    const filter = addChain(context, tid, who);
    if (filter !== undefined) seccompStates.push(seccompStateRow({ thread, mode: "filter", filter }));
  });
}

/** The row of a thread's last filter; undefined where one was refused. */
function addChain(context: DumpContext, tid: number, who: string): number | undefined {
  const { seccompFilters } = context.tables;
  const chain: Pick<SeccompFilterRow, "flags" | "instructions">[] = [];
  for (let offset = 0; ; offset++) {
    const instructions = getSeccompFilter(tid, offset);
    if (instructions === undefined) break;
    if (asksAnother(instructions)) {
      context.leaveOut(
        "seccomp",
        `${who}: a seccomp filter with a listener, a process that answers for the kernel (SECCOMP_RET_USER_NOTIF)`,
      );
      return undefined;
    }
    chain.push({ instructions, flags: getSeccompFlags(tid, offset) });
  }
  // The kernel counts from the last one.
  let previous: number | null = null;
  for (const { flags, instructions } of chain.reverse()) {
    const before: number | null = previous;
    const known = seccompFilters.findIndex(
      (row) => row.previous === before && row.flags === flags && Buffer.compare(row.instructions, instructions) === 0,
    );
    previous = known >= 0 ? known : seccompFilters.push(seccompFilterRow({ previous: before, flags, instructions })) - 1;
  }
  return previous ?? undefined;
}

function asksAnother(instructions: Buffer): boolean {
  // struct sock_filter: u2 code, u1 jt, u1 jf, u4 k
  for (let at = 0; at + 8 <= instructions.length; at += 8) {
    const action = (instructions.readUInt32LE(at + 4) & RET_ACTION) >>> 0;
    if (instructions.readUInt16LE(at) === BPF_RET && action === RET_USER_NOTIF) return true;
  }
  return false;
}
