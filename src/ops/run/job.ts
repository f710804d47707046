// SPDX-License-Identifier: Apache-2.0
/**
 * The processes of a job. The one started here (the waiter) is an image's first process: it passes signals on and ends as
 * the job ends. In a pid namespace the init comes next; below that is the program, which is what gets dumped.
 *
 *     crimg run ── waiter ── init (pid 1 of the namespace) ── program ── …
 *     crimg run ── waiter ── program ── …                                     with --pid same or any
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { launchImage } from "../../../formats/ckpt-elf/launch-image.js";
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { listChildren, procPath, readStat } from "../../dump/procfs.js";
import { memfdCreate, tryPrlimit } from "../../native/index.js";
import { writeFully } from "../../pages/file-source.js";
import { findCommand } from "./command.js";
import type { PidMode } from "./options.js";

const RLIMIT_NOFILE = 7;
const pollMs = 5;

/** Descriptors 0 to 2 of the job. */
export type Streams = readonly [number, number, number];

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** A nameless executable of these bytes. The caller closes it. */
function executable(bytes: Uint8Array): number {
  const fd = memfdCreate("crimg-run");
  writeFully(fd, bytes, 0n);
  return fd;
}

/**
 * Node raises its own soft limit on open files to the hard one; the command must get the limit of the process that started
 * crimg, as far as can be told.
 */
function callersLimit(): { soft: bigint; hard: bigint } | undefined {
  const own = tryPrlimit(0, RLIMIT_NOFILE);
  const callers = tryPrlimit(process.ppid, RLIMIT_NOFILE);
  if (typeof own === "number" || typeof callers === "number" || callers.soft > own.hard) return undefined;
  return { soft: callers.soft, hard: own.hard };
}

/** Whether a pid namespace can be made here, or those of a rehearsal; if not, the kernel's words. */
export function namespaceTrouble(kind: "pid" | "rehearsal"): string | undefined {
  const fd = executable(launchImage({ path: "/", argv: [], environment: [], as: "trial" }));
  try {
    const { status, stderr } = spawnSync(`/proc/self/fd/${fd}`, ["--pid", "namespace", ...(kind === "rehearsal" ? ["--rehearse"] : [])], {
      encoding: "utf8",
      stdio: ["ignore", "ignore", "pipe"],
      timeout: 10_000,
    });
    return status === 0 ? undefined : (/: ([^:\n]*: [^:\n]*)$/m.exec(stderr)?.[1] ?? "the kernel refuses it");
  } finally {
    closeSync(fd);
  }
}

export class Job {
  /** Resolves when the waiter has ended. */
  readonly ended: Promise<Ending>;
  hasEnded = false;
  readonly #waiter: ChildProcess;
  readonly #waiterPid: number;
  readonly #pidfile: string;
  #isReady = false;

  private constructor(
    path: string,
    private readonly pidMode: PidMode,
    private readonly isNew: boolean,
    options: { readonly pidfile: string; readonly streams: Streams },
  ) {
    this.#pidfile = options.pidfile;
    // A session of its own: keys of the terminal reach crimg, which decides what becomes of them.
    this.#waiter = spawn(path, optionsOf(pidMode, this.#pidfile), { stdio: [...options.streams], detached: true });
    this.ended = new Promise((done, reject) => {
      this.#waiter.once("error", (error: NodeJS.ErrnoException) => {
        this.hasEnded = true;
        reject(startFailure(path, error));
      });
      this.#waiter.once("exit", (code, signal) => {
        this.hasEnded = true;
        rmSync(this.#pidfile, { force: true });
        done({ code, signal });
      });
    });
    this.ended.catch(() => undefined);
    this.#waiterPid = this.#waiter.pid ?? 0;
  }

  /** Starts a command. @throws CrimgError `run.*` */
  static start(command: readonly string[], pidMode: PidMode, place: { readonly image: string; readonly streams: Streams }): Job {
    const [name = ""] = command;
    const program = launchImage({ path: findCommand(name), argv: command, environment: environment(), openFiles: callersLimit() });
    return Job.#execute(program, pidMode, true, { pidfile: pidfileBeside(place.image), streams: place.streams });
  }

  /** Resumes an image. */
  static resume(image: string, pidMode: PidMode, streams: Streams): Job {
    const path = resolve(image);
    const pidfile = pidfileBeside(path);
    const program = launchImage({ path, argv: [path, ...optionsOf(pidMode, pidfile)], environment: environment(), as: "image" });
    return Job.#execute(program, pidMode, false, { pidfile, streams });
  }

  static #execute(
    program: Uint8Array,
    pidMode: PidMode,
    isNew: boolean,
    options: { readonly pidfile: string; readonly streams: Streams },
  ): Job {
    const fd = executable(program);
    try {
      return new Job(`/proc/self/fd/${fd}`, pidMode, isNew, options);
    } finally {
      closeSync(fd);
    }
  }

  /** Waits until the program runs. False if it has ended, or could not be started. */
  async isRunning(): Promise<boolean> {
    while (!this.#isReady && !this.hasEnded) {
      this.#isReady = this.#look();
      if (!this.#isReady) await pause(pollMs);
    }
    return !this.hasEnded;
  }

  #look(): boolean {
    // The waiter writes the file when the tree runs. Of a new command it says that its process is there: it is ready
    // once it executes something else than the waiter does.
    let first: number;
    try {
      const text = readFileSync(this.#pidfile, "utf8");
      if (!text.endsWith("\n")) return false;
      first = Number(text);
    } catch {
      return false;
    }
    if (this.isNew) {
      const pid = this.pidMode === "namespace" ? childrenOf(first)[0] : first;
      try {
        if (pid === undefined || readlinkSync(`/proc/${pid}/exe`) === readlinkSync(`/proc/${this.#waiterPid}/exe`)) return false;
      } catch {
        return false;
      }
    }
    rmSync(this.#pidfile, { force: true });
    return true;
  }

  /** The init of the namespace; undefined without one. */
  get #init(): number | undefined {
    return this.pidMode === "namespace" ? childrenOf(this.#waiterPid)[0] : undefined;
  }

  /** Process id of the program as seen from here; undefined if it has ended. */
  get program(): number | undefined {
    const parent = this.pidMode === "namespace" ? this.#init : this.#waiterPid;
    return parent === undefined ? undefined : childrenOf(parent)[0];
  }

  /** Processes of the namespace that are no descendants of the program any more: a dump of the program would lose them. */
  get strays(): readonly number[] {
    const init = this.#init;
    if (init === undefined) return [];
    return childrenOf(init)
      .slice(1)
      .filter((pid) => !/^[ZX]?$/.test(readStat(procPath(pid))?.state ?? ""));
  }

  /** Sends a signal to the program, by way of the waiter. */
  pass(signal: NodeJS.Signals): void {
    try {
      if (!this.hasEnded) process.kill(this.#waiterPid, signal);
    } catch {
      // It has ended this moment.
    }
  }
}

/** What an image, and what starts a command, takes. */
function optionsOf(pidMode: PidMode, pidfile: string): string[] {
  return ["--pid", pidMode, "--pidfile", pidfile];
}

function environment(): string[] {
  return Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ""}`);
}

/** Children of a process that has one thread, in the order of their making. */
function childrenOf(pid: number): number[] {
  return listChildren(pid, pid) ?? [];
}

function pidfileBeside(image: string): string {
  return `${image}.${randomBytes(6).toString("hex")}.pid`;
}

function startFailure(path: string, error: NodeJS.ErrnoException): CrimgError {
  return new CrimgError(
    "run.start",
    `cannot execute a file in memory (${path}): ${error.code ?? error.message}`,
    { source: path, hint: "Is /proc mounted?", cause: error },
    exitStatus.restoreFailed,
  );
}
