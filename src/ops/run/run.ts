// SPDX-License-Identifier: Apache-2.0
/**
 * crimg run: a job that survives. Starts a command, or resumes the image that an earlier run of the same line left, and
 * freezes it when a scheduler says so.
 *
 * The image under its name is always the last whole one: a new one is written beside it and takes the name when it is
 * complete and has been rehearsed. It goes when the job has ended by itself, since nothing is left to resume; a job that
 * was killed keeps it.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { probeFormat, probeInputOf } from "../../adapter/detect.js";
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { fromSystemError } from "../../errors/render.js";
import { tryCall } from "../../native/index.js";
import { dump } from "../dump.js";
import { formatBytes } from "../units.js";
import { type Ending, Job, namespaceTrouble, type Streams } from "./job.js";
import { OutputWatch, whenListening } from "./moments.js";
import type { PidMode, RunOptions } from "./options.js";

/** Signals that Node can listen to and that do not belong to the runtime itself. Real-time signals are not among them. */
export const passedSignals: readonly NodeJS.Signals[] = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGTERM",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGVTALRM",
  "SIGCONT",
  "SIGWINCH",
  "SIGIO",
  "SIGPWR",
  "SIGURG",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
];
/** Keys and job control: the job stops, and so does crimg. */
const stopping: ReadonlySet<NodeJS.Signals> = new Set(["SIGTSTP", "SIGTTIN", "SIGTTOU"]);
/** A job that ends after one of these was told to. */
const ending: ReadonlySet<NodeJS.Signals> = new Set(["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]);

const RLIMIT_CORE = 4;

/** Runs a job to its end. Returns the exit status; does not return where a signal ended the job. */
export async function run(options: RunOptions): Promise<number> {
  return new Runner(options).run();
}

class Runner {
  readonly #options: RunOptions;
  #job: Job | undefined;
  #isFrozen = false;
  /** The job was told to end: what it leaves may be needed again. */
  #wasTold = false;
  #freezing: Promise<void> = Promise.resolve();
  #lastRefusal = "";
  #lastUnrehearsed = "";
  /** Why no rehearsal can be made; empty if one can, absent if that is not known. */
  #rehearsalTrouble: string | undefined;
  readonly #stops: (() => void)[] = [];
  readonly #listeners = new Map<NodeJS.Signals, () => void>();
  /** A second end while the command after the freeze runs. */
  #leave: (() => void) | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
  }

  async run(): Promise<number> {
    const { image, command } = this.#options;
    this.#listen();
    try {
      const isResumed = await isImage(image, this.#options);
      if (!isResumed && command.length === 0) {
        throw new CrimgError("usage.bad", `${image} does not exist yet, and no command is given after --`, {
          hint: `crimg run --image ${image} -- CMD …`,
        });
      }
      const pidMode = this.#choosePidMode();
      const watch = isResumed ? undefined : this.#outputWatch();
      const output = this.#openOutput(isResumed);
      const streams: Streams = [0, output ?? watch?.streams[0] ?? 1, output ?? watch?.streams[1] ?? 2];
      const job = isResumed ? Job.resume(image, pidMode, streams) : Job.start(command, pidMode, { image, streams });
      this.#job = job;
      void job.isRunning();
      watch?.closeStreams();
      if (output !== undefined) closeSync(output);
      if (!isResumed) this.#awaitMoment(job);
      this.#freezeEvery();
      const { code, signal } = await job.ended;
      this.#stop();
      await this.#freezing;
      await watch?.drain();
      if (this.#isFrozen) return await this.#afterFreeze();
      this.#removeImage({ code, signal });
      if (signal !== null) endBy(signal, this.#listeners);
      return code ?? exitStatus.trouble;
    } finally {
      this.#stop();
      for (const [signal, listener] of this.#listeners) process.off(signal, listener);
    }
  }

  #choosePidMode(): PidMode {
    const { pidMode, say } = this.#options;
    if (pidMode !== undefined) return pidMode;
    const trouble = namespaceTrouble("pid");
    if (trouble === undefined) return "namespace";
    say(`no pid namespace for the job (${trouble}): it gets other process ids when it is resumed`);
    return "any";
  }

  #outputWatch(): OutputWatch | undefined {
    const { once } = this.#options;
    return once?.kind === "output" ? new OutputWatch(once.pattern, () => this.#freeze("its output matched", true)) : undefined;
  }

  #openOutput(isResumed: boolean): number | undefined {
    const { outputFile } = this.#options;
    // A resumed job has its file.
    return outputFile === undefined || isResumed ? undefined : openSync(outputFile, "a", 0o666);
  }

  #awaitMoment(job: Job): void {
    const { once } = this.#options;
    if (once?.kind === "after") {
      const timer = setTimeout(() => this.#freeze("it is time", true), once.ms);
      this.#stops.push(() => clearTimeout(timer));
    } else if (once?.kind === "listening") {
      this.#stops.push(
        whenListening(
          () => job.program,
          once.port,
          () => this.#freeze(`it listens on port ${once.port}`, true),
        ),
      );
    }
  }

  #freezeEvery(): void {
    const { everyMs } = this.#options;
    if (everyMs === undefined) return;
    const timer = setInterval(() => this.#freeze("", false), everyMs);
    this.#stops.push(() => clearInterval(timer));
  }

  #stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #listen(): void {
    const { freezeOn } = this.#options;
    for (const signal of passedSignals) {
      const listener = (): void => {
        if (this.#isFrozen) {
          if (ending.has(signal)) this.#leave?.();
        } else if (freezeOn.includes(signal)) this.#freeze(signal, true);
        else this.#pass(signal);
      };
      this.#listeners.set(signal, listener);
      process.removeAllListeners(signal);
      process.on(signal, listener);
    }
    // Those that came while the command was loaded (bin/bundle.cjs).
    const early: unknown = Reflect.get(globalThis, Symbol.for("crimg.early-signals"));
    if (Array.isArray(early)) for (const signal of early.splice(0)) this.#listeners.get(signal as NodeJS.Signals)?.();
  }

  #pass(signal: NodeJS.Signals): void {
    if (ending.has(signal)) this.#wasTold = true;
    this.#job?.pass(signal);
    if (stopping.has(signal)) process.kill(process.pid, "SIGSTOP");
  }

  /** One freeze after the other. `isLast`: the job ends with it. */
  #freeze(why: string, isLast: boolean): void {
    this.#freezing = this.#freezing.then(async () => {
      if (this.#isFrozen || this.#job?.hasEnded === true) return;
      try {
        await this.#freezeNow(why, isLast);
      } catch (error) {
        this.#sayRefusal(error, why);
      }
    });
  }

  async #freezeNow(why: string, isLast: boolean): Promise<void> {
    const { registry, image, dump: dumpOptions, say } = this.#options;
    const job = this.#job;
    // A signal may come while the job is being made.
    if (job === undefined || !(await job.isRunning())) return;
    const pid = job.program;
    if (pid === undefined) return;
    const { strays } = job;
    if (strays.length > 0) {
      throw new CrimgError("run.strays", `process ${strays.join(", ")} of the job has left the program's tree and would be lost`, {
        hint: "Start it so that it stays a child of the program (no daemon mode).",
      });
    }
    const report = await dump({
      ...dumpOptions,
      registry,
      pid,
      output: image,
      after: isLast ? "kill" : "leave-running",
      isTree: true,
      force: true,
      sync: true,
      inheritStreams: true,
      ignoresSignals: true,
      rehearse: this.#canRehearse(),
      onUnrehearsed: (reason) => this.#sayUnrehearsed(reason),
    });
    this.#isFrozen = isLast;
    this.#lastRefusal = "";
    const size = `${formatBytes(report.pageBytes)} of pages, frozen ${Math.round(report.frozenMs)} ms`;
    if (isLast) say(`${image}: the job is frozen (${why}): ${size}`);
  }

  /** Whether new images are rehearsed: not where the namespaces of a rehearsal cannot be made (an unprivileged container). */
  #canRehearse(): boolean {
    if (!this.#options.rehearse) return false;
    this.#rehearsalTrouble ??= namespaceTrouble("rehearsal") ?? "";
    if (this.#rehearsalTrouble !== "") this.#sayUnrehearsed(this.#rehearsalTrouble);
    return this.#rehearsalTrouble === "";
  }

  /** Said once for each reason. */
  #sayUnrehearsed(reason: string): void {
    if (reason !== this.#lastUnrehearsed) this.#options.say(`the image is not rehearsed: ${reason}`);
    this.#lastUnrehearsed = reason;
  }

  /** The job runs on: said once for each reason. */
  #sayRefusal(error: unknown, why: string): void {
    const known = fromSystemError(error);
    const text = known instanceof Error ? known.message : String(known);
    const parts = known instanceof CrimgError ? (known.parts ?? []).map((part) => `; ${part.message}`).join("") : "";
    const hint = known instanceof CrimgError && known.hint !== undefined ? ` (${known.hint})` : "";
    if (text === this.#lastRefusal && why === "") return;
    this.#lastRefusal = text;
    this.#options.warn(`not frozen, the job continues: ${text}${parts}${hint}`);
  }

  async #afterFreeze(): Promise<number> {
    const { afterFreeze, frozenStatus, image } = this.#options;
    if (afterFreeze !== undefined) {
      const child = spawn("/bin/sh", ["-c", afterFreeze], { stdio: "inherit", env: { ...process.env, CRIMG_IMAGE: image } });
      await new Promise<void>((resolve) => {
        this.#leave = resolve;
        child.once("error", () => resolve());
        child.once("exit", () => resolve());
      });
    }
    return frozenStatus;
  }

  /** A job that was killed, or could not be resumed, may go on from its image. */
  #removeImage({ code, signal }: Ending): void {
    const { image, keep, say } = this.#options;
    if (keep || !existsSync(image)) return;
    const wasKilled = signal !== null || code === null || code > 128;
    if (code === exitStatus.restoreFailed || wasKilled || this.#wasTold) say(`${image} is kept: the job has not exited by itself`);
    else rmSync(image, { force: true });
  }
}

/** Whether there is an image to resume. @throws CrimgError `run.image` for what is none */
async function isImage(path: string, { registry }: RunOptions): Promise<boolean> {
  if (!existsSync(path)) return false;
  const format = await probeFormat(probeInputOf(path), registry);
  if (format?.id === "ckpt-elf") return true;
  throw new CrimgError("run.image", `${path} exists already and is not an executable image`, {
    source: path,
    hint: "Name another file, or move this one away.",
  });
}

/** Ends as the job ended. */
function endBy(signal: NodeJS.Signals, listeners: ReadonlyMap<NodeJS.Signals, () => void>): void {
  const listener = listeners.get(signal);
  if (listener !== undefined) process.off(signal, listener);
  // The job's core, if any, has been written; a second one would be crimg's own.
  tryCall("prlimit64", 0, RLIMIT_CORE, new BigUint64Array([0n, 0n]), null);
  try {
    process.kill(process.pid, signal);
  } catch {
    // Not a signal of this system: the status says it.
  }
  process.exitCode = 128 + (constants.signals[signal] ?? 0);
}
