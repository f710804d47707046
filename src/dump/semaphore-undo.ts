// SPDX-License-Identifier: Apache-2.0
/**
 * SEM_UNDO: what the kernel takes back of a process's System V semaphore operations when it ends, which a dump makes
 * happen. Nobody can read these adjustments. Seen are the process that changed a semaphore last, and whether a process
 * has a list of adjustments at all: every process with threads has one, though perhaps an empty one.
 */
import { spawn } from "node:child_process";
import { failed, kcmpType, tryCall, tryKcmp, tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";

const GETPID = 11;

/** Sets as /proc/sysvipc/sem lists them: key semid perms nsems … */
export function parseSemaphoreSets(text: string): { readonly id: number; readonly size: number }[] {
  return text
    .split("\n")
    .slice(1)
    .filter(Boolean)
    .map((line) => {
      const [, id = "", , size = ""] = line.trim().split(/\s+/);
      return { id: Number(id), size: Number(size) };
    });
}

/** Blocks the dump where a process may have adjustments. */
export function checkSemaphoreUndo(context: DumpContext, processes: readonly DumpedProcess[]): void {
  const sets = parseSemaphoreSets(tryReadSmall("/proc/sysvipc/sem")?.toString("latin1") ?? "");
  const changers = new Map<number, number>();
  for (const { id, size } of sets) {
    for (let index = 0; index < size; index++) {
      const pid = tryCall("semctl", id, index, GETPID, 0);
      if (!failed(pid) && pid !== 0) changers.set(pid, id);
    }
  }
  const users = processes.filter(({ pid, frozen }) => !frozen.isZombie && changers.has(pid));
  if (users.length === 0) return;
  // A process that has had no thread and made no such operation has no list: what compares equal has none either.
  const without = spawn("sleep", ["60"], { stdio: "ignore" });
  // Without it, whoever used semaphores is taken to have something to undo.
  without.on("error", () => undefined);
  try {
    for (const { pid, name } of users) {
      if (without.pid !== undefined && tryKcmp(pid, without.pid, kcmpType.SYSVSEM) === 0) continue;
      const id = changers.get(pid);
      context.leaveOut("semaphore-undo", `process ${pid} (${name}): it may have operations on semaphore set ${id} to undo (SEM_UNDO)`);
    }
  } finally {
    without.kill("SIGKILL");
  }
}
