// SPDX-License-Identifier: Apache-2.0
/**
 * Backtraces of every thread of a checkpoint in any format: a core of each process is made in a private folder, and a
 * debugger that is installed is asked. crimg itself unwinds nothing.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { FormatRegistry } from "../adapter/registry.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { InterruptGuard } from "./interrupt.js";
import { openOutput } from "./output.js";

export interface Backtrace {
  readonly pid: number;
  /** Name of the leader. */
  readonly name: string;
  /** Name of the debugger. */
  readonly by: string;
  /** What it says. */
  readonly lines: readonly string[];
}

interface Debugger {
  readonly name: string;
  /** Its files are tried in order. */
  readonly commands: readonly string[];
  readonly args: (core: string, program: string | undefined) => readonly string[];
  /** Where the backtraces begin. */
  readonly start: RegExp;
  /** Lines behind that which are no backtrace. */
  readonly noise: RegExp;
}

/** No file that the core or the program names may make a debugger run code: neither start-up files nor auto-load. */
const debuggers: readonly Debugger[] = [
  {
    name: "gdb",
    commands: ["gdb"],
    args: (core, program) => [
      "-nx",
      "-batch",
      "-iex",
      "set auto-load off",
      "-iex",
      "set debuginfod enabled off",
      "-iex",
      "set width 0",
      "-ex",
      "thread apply all bt",
      ...(program === undefined ? [] : [program]),
      "-c",
      core,
    ],
    start: /^Thread [0-9]/m,
    noise: /^(warning: .*)?$/,
  },
  {
    name: "eu-stack",
    commands: ["eu-stack"],
    args: (core, program) => [`--core=${core}`, ...(program === undefined ? [] : ["-e", program])],
    start: /^TID /m,
    noise: /^$/,
  },
  {
    name: "lldb",
    commands: ["lldb", "lldb-19", "lldb-18", "lldb-17", "lldb-16", "lldb-15", "lldb-14"],
    args: (core, program) => ["-b", "--no-lldbinit", ...(program === undefined ? [] : [program]), "-c", core, "-o", "thread backtrace all"],
    start: /^[* ] thread #/m,
    noise: /^\(lldb\) |^$/,
  },
];

/** Longest that a debugger may take, milliseconds, and most that it may say, bytes. */
const maxMs = 300_000;
const maxOutput = 1 << 27;

function inPath(command: string): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, command))
    .find((path) => existsSync(path));
}

/** Debuggers of this host, the one that says most first. */
function installed(): { readonly kind: Debugger; readonly path: string }[] {
  return debuggers.flatMap((kind) => {
    const path = kind.commands.map(inPath).find((found) => found !== undefined);
    return path === undefined ? [] : [{ kind, path }];
  });
}

/**
 * Backtraces of all processes with memory, or of one.
 * @throws CrimgError `show.no-debugger`, `show.backtrace`, `core.pid`, and what writing a core throws
 */
export async function backtraces(
  checkpoint: Checkpoint,
  options: { readonly registry: FormatRegistry; readonly pid?: number },
): Promise<Backtrace[]> {
  const found = installed();
  if (found.length === 0) {
    throw new CrimgError("show.no-debugger", "no debugger that can show backtraces is installed", {
      expected: "gdb, eu-stack or lldb",
      hint: "install gdb, or elfutils, which is smaller",
    });
  }
  const format = await options.registry.load("core");
  const { tasks, mms, objects, threads } = checkpoint.tables;
  const chosen = tasks.flatMap((task, index) =>
    task.mm !== null && (options.pid === undefined || task.pid === options.pid) ? [index] : [],
  );
  if (chosen.length === 0) {
    throw new CrimgError(
      "core.pid",
      options.pid === undefined ? "no process of the checkpoint has memory" : `the checkpoint holds no process ${options.pid} with memory`,
      {
        hint: `its processes are ${tasks
          .slice(0, 10)
          .map(({ pid }) => pid)
          .join(", ")}`,
      },
    );
  }
  const folder = mkdtempSync(join(tmpdir(), "crimg-bt-"));
  const guard = new InterruptGuard();
  try {
    const results: Backtrace[] = [];
    for (const index of chosen) {
      const task = tasks[index];
      if (!task) continue;
      const core = join(folder, `core.${task.pid}`);
      const output = openOutput(core, { shape: "file" });
      try {
        await format.write?.(checkpoint, output, { pid: task.pid, onProgress: () => guard.check("show bt") });
        output.commit();
      } finally {
        output.discard();
      }
      guard.check("show bt");
      const exe = objects[mms[task.mm ?? -1]?.exe ?? -1];
      const program = exe?.kind === "file" && existsSync(exe.path) ? exe.path : undefined;
      const name = threads[checkpoint.threadsOf(index)[0] ?? -1]?.comm ?? "";
      results.push({ pid: task.pid, name, ...ask(found, core, program, task.pid) });
      rmSync(core, { force: true });
    }
    return results;
  } finally {
    guard.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Asks one debugger after the other until one says something. */
function ask(found: ReturnType<typeof installed>, core: string, program: string | undefined, pid: number): Pick<Backtrace, "by" | "lines"> {
  const failures: string[] = [];
  for (const { kind, path } of found) {
    const { stdout, stderr, status, signal } = spawnSync(path, kind.args(core, program), {
      encoding: "utf8",
      timeout: maxMs,
      maxBuffer: maxOutput,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, DEBUGINFOD_URLS: "", LC_ALL: "C.UTF-8" },
    });
    // What comes before the first thread is said when a core is opened.
    const start = (stdout ?? "").search(kind.start);
    const text = start < 0 ? "" : stdout.slice(start);
    const lines = text
      .split("\n")
      .map((line) => line.trimEnd())
      .filter((line) => !kind.noise.test(line));
    if (lines.some((line) => /#[0-9]+[ :]/.test(line))) return { by: kind.name, lines };
    failures.push(`${kind.name} (${signal ?? status}): ${(stderr ?? "").trim().split("\n")[0] ?? ""}`);
  }
  throw new CrimgError("show.backtrace", `no debugger could show a backtrace of process ${pid}: ${failures.join("; ")}`, {
    hint: "crimg convert IMAGE core.PID --to core makes the core that they were asked about",
  });
}
