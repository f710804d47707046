// SPDX-License-Identifier: Apache-2.0
/**
 * A rehearsal: an executable image resumes its tree in private namespaces as far as it goes without running it, and
 * discards it (src/lower/rehearsal.ts). While it lasts, there are two copies of the memory.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { logStep } from "../errors/log.js";

/** More of what an image says about its failure is not kept. */
const longestWords = 1 << 14;

/** Longest rehearsal, milliseconds: a big image is read whole. */
const longestMs = 15 * 60_000;

export interface RehearsalOutcome {
  readonly isGood: boolean;
  /** What the image said, without the name of the program before it: op, object, reason. */
  readonly words: string;
}

/**
 * Rehearses the executable image at `path`, which nobody has open for writing. Changes nothing.
 * @throws CrimgError `rehearse.start` if it cannot be executed, `rehearse.long`
 */
export async function rehearse(path: string, name: string): Promise<RehearsalOutcome> {
  // Its standard streams are none of the caller's: flags of theirs would be changed.
  const child = spawn(resolve(path), ["--rehearse"], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: "/",
    env: {},
    timeout: longestMs,
    killSignal: "SIGKILL",
  });
  yieldMemory(child.pid);
  let words = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (chunk: string) => {
    if (words.length < longestWords) words += chunk;
  });
  const [status, signal] = await new Promise<[number | null, string | null]>((done, fail) => {
    child.on("error", (error) => {
      fail(
        new CrimgError("rehearse.start", `cannot execute ${name} to rehearse it: ${error.message}`, {
          source: name,
          hint: "put it on a filesystem where programs may run",
          cause: error,
        }),
      );
    });
    child.on("close", (code, killedBy) => done([code, killedBy]));
  });
  if (signal !== null) {
    throw new CrimgError("rehearse.long", `the rehearsal of ${name} did not end: it was ended by ${signal}`, { source: name });
  }
  logStep(() => `rehearsed: status ${status}`);
  const lines = words
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^crimg: /, "").trim());
  return { isGood: status === 0, words: lines.join("; ") || `exit status ${status}` };
}

/** Where memory runs out, the rehearsal goes and not the program that it is about (proc_pid_oom_score_adj(5)). */
function yieldMemory(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // It has ended already, or /proc is not writable: then the kernel chooses.
  }
}

/** The error for a rehearsal that failed. */
export function rehearsalFailed(name: string, { words }: RehearsalOutcome, hint: string, exit = exitStatus.refused as number): CrimgError {
  return new CrimgError(
    "rehearse.failed",
    `${name} would not resume here: ${words}`,
    { source: name, hint },
    exit as typeof exitStatus.refused,
  );
}
