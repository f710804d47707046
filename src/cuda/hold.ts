// SPDX-License-Identifier: Apache-2.0
/**
 * What a dump does about GPUs, before the tree is frozen and after. The driver locks each process that uses CUDA (its next
 * CUDA call waits), then takes everything off the devices into the memory of the process and closes them. Then there is
 * nothing left that a dump could not keep. Whatever happens later, `giveBack` or, if crimg is gone, the helper has the
 * driver undo it.
 */
import { readFileSync } from "node:fs";
import type { DumpContext } from "../dump/context.js";
import { refusal } from "../dump/refusal.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { GpuRow } from "../gen/tables.js";
import { type CudaDriver, CudaHelper, DriverRefusal, type GpuDevice, helperPath } from "./helper.js";
import { type CudaCandidate, cudaCandidates } from "./users.js";

export interface HoldOptions {
  readonly pid: number;
  readonly isTree: boolean;
  /** What maps of the process said a moment ago, if it is known. */
  readonly maps: Buffer | undefined;
  /** How long work on a GPU may take to come to an end, milliseconds. */
  readonly lockMs: number;
  /** Called while waiting; throws to give up. */
  readonly check: () => void;
}

/** Times that the driver took, milliseconds. */
export interface GpuReport {
  readonly processes: number;
  readonly lockMs: number;
  readonly checkpointMs: number;
  /** With --leave-running and --leave-stopped. */
  readonly giveBackMs?: number;
}

/** States of cuCheckpointProcessGetState. */
const running = 0;
const checkpointed = 2;
const stateNames = ["running", "locked", "checkpointed", "failed"];

interface CudaProcess {
  readonly pid: number;
  /** Its thread that does the driver's work, by the id that the process itself sees. */
  readonly restoreTid: number;
  /** Somebody else has checkpointed it before: it stays so, but its image resumes to the end. */
  readonly isOthers: boolean;
}

/** The GPUs of a tree, in crimg's hands. */
export class DeviceHold {
  readonly #times = { lockMs: 0, checkpointMs: 0, giveBackMs: undefined as number | undefined };
  /** What is locked or checkpointed by us, and has to be given back. */
  readonly #held = new Set<number>();
  #processes: readonly CudaProcess[] = [];
  #gpus: readonly GpuRow[] = [];

  private constructor(
    readonly helper: CudaHelper,
    readonly driver: CudaDriver,
  ) {}

  /**
   * Takes the tree's GPUs. Undefined where nothing of the tree uses CUDA.
   * @throws CrimgError `dump.cuda` with the driver's own word; everything is as it was then
   */
  static async take(options: HoldOptions): Promise<DeviceHold | undefined> {
    const candidates = cudaCandidates(options.pid, options.isTree, options.maps);
    if (candidates.length === 0) return undefined;
    let hold: DeviceHold;
    try {
      const { helper, driver } = await CudaHelper.start(options.check);
      hold = new DeviceHold(helper, driver);
    } catch (error) {
      if (!(error instanceof DriverRefusal)) throw error;
      // A library that was loaded and never found a device.
      const user = candidates.find(({ hasDevice }) => hasDevice);
      if (user === undefined) return undefined;
      throw refused(`process ${user.pid} uses a GPU`, error);
    }
    try {
      await hold.#take(candidates, options.lockMs);
      if (hold.#processes.length > 0) return hold;
      await hold.close();
      return undefined;
    } catch (error) {
      await hold.release();
      throw error;
    }
  }

  async #take(candidates: readonly CudaCandidate[], lockMs: number): Promise<void> {
    const processes: CudaProcess[] = [];
    for (const { pid, hasDevice } of candidates) {
      const state = await this.#stateOf(pid, hasDevice);
      if (state === undefined) continue;
      const restoreTid = Number(await this.#ask(`thread ${pid}`, `process ${pid} uses a GPU`));
      processes.push({ pid, restoreTid, isOthers: state === checkpointed });
    }
    this.#processes = processes;
    const ours = processes.filter(({ isOthers }) => !isOthers);
    const before = await this.helper.devices();
    let since = performance.now();
    for (const { pid } of ours) {
      await this.#ask(
        `lock ${pid} ${lockMs}`,
        `process ${pid}: its work on the GPU did not come to a halt`,
        `It had ${lockMs / 1000} s; --gpu-timeout SECONDS gives it longer.`,
      );
      this.#held.add(pid);
    }
    this.#times.lockMs = performance.now() - since;
    since = performance.now();
    for (const { pid } of ours) await this.#ask(`checkpoint ${pid}`, `process ${pid}: its GPU state cannot be saved`);
    this.#times.checkpointMs = performance.now() - since;
    this.#gpus = gpuRows(this.driver, before, await this.helper.devices(), new Set(candidates.flatMap(({ minors }) => [...minors])));
  }

  /** The driver's state of a process; undefined if it has loaded the driver, but does not use it. */
  async #stateOf(pid: number, hasDevice: boolean): Promise<number | undefined> {
    let state: number;
    try {
      state = Number(await this.helper.ask(`state ${pid}`));
    } catch (error) {
      if (!(error instanceof DriverRefusal)) throw error;
      if (!hasDevice) return undefined;
      throw refused(`process ${pid} uses a GPU`, error);
    }
    if (state === running || state === checkpointed) return state;
    throw refusal("cuda", `process ${pid}: the CUDA driver has it ${stateNames[state] ?? `in state ${state}`}`, {
      hint: `Another checkpointer may be at work. If none is: ${helperPath()} give-back ${pid}`,
    });
  }

  async #ask(question: string, what: string, hint?: string): Promise<string> {
    try {
      return await this.helper.ask(question);
    } catch (error) {
      if (error instanceof DriverRefusal) throw refused(what, error, hint);
      throw error;
    }
  }

  /** Threads that do the driver's work, by the id that the kernel gives them here; known after `record`. */
  restoreThreads: readonly number[] = [];

  /** Adds the rows of the frozen tree to the checkpoint. */
  record({ tables, processes }: DumpContext): void {
    const restoreThreads: number[] = [];
    for (const { pid, restoreTid } of this.#processes) {
      const process = processes.find((one) => one.pid === pid);
      // It has ended since, or left the tree.
      if (process === undefined || process.frozen.isZombie) continue;
      const own = tables.threads.findIndex((row) => row.task === process.row && row.tid === restoreTid);
      if (own < 0) {
        throw refusal("cuda", `process ${pid} (${process.name}): it has no thread ${restoreTid}, which the CUDA driver works in`, {
          hint: "Try again.",
        });
      }
      tables.cudaProcesses.push({ task: process.row, restoreThread: own });
      const first = tables.threads.findIndex((row) => row.task === process.row);
      const tid = process.frozen.threads[own - first]?.tid;
      if (tid !== undefined) restoreThreads.push(tid);
    }
    if (tables.cudaProcesses.length > 0) tables.gpus.push(...this.#gpus);
    this.restoreThreads = restoreThreads;
  }

  /** The tree has ended: there is nobody to give anything back to. */
  async forget(): Promise<void> {
    for (const pid of this.#held) await this.helper.ask(`forget ${pid}`);
    this.#held.clear();
  }

  /**
   * Has the driver put everything back. The threads that do its work must run.
   * @throws CrimgError `cuda.give-back`: the program stays locked
   */
  async giveBack(): Promise<void> {
    const since = performance.now();
    const failures: string[] = [];
    for (const pid of this.#held) {
      try {
        await this.helper.ask(`give-back ${pid}`);
        this.#held.delete(pid);
      } catch (error) {
        if (!(error instanceof DriverRefusal)) throw error;
        failures.push(`process ${pid} waits in its next CUDA call, for the driver does not give its GPU back: ${error.message}`);
      }
    }
    this.#times.giveBackMs = performance.now() - since;
    const pids = [...this.#held].join(" ");
    if (failures.length > 0) {
      throw new CrimgError("cuda.give-back", failures.join("; "), { hint: `Try again: ${helperPath()} give-back ${pids}` });
    }
  }

  /** After a failure: gives back what can be, and ends the helper. What fails here matters less than what came before. */
  async release(): Promise<void> {
    try {
      await this.giveBack();
    } catch {
      // The helper tries once more when the pipe closes.
    }
    await this.close();
  }

  close(): Promise<void> {
    return this.helper.close();
  }

  get report(): GpuReport {
    const { giveBackMs, ...times } = this.#times;
    return { processes: this.#processes.length, ...times, ...(giveBackMs === undefined ? {} : { giveBackMs }) };
  }
}

function refused(what: string, { message }: DriverRefusal, hint?: string): CrimgError {
  return refusal("cuda", `${what}: ${message}`, hint === undefined ? {} : { hint });
}

/** Minor number of a GPU's node, as the kernel module tells it; undefined where it does not. */
function minorOf(bus: string): number | undefined {
  try {
    const text = readFileSync(`/proc/driver/nvidia/gpus/${bus}/information`, "latin1");
    const minor = /^Device Minor:\s*(\d+)/m.exec(text)?.[1];
    return minor === undefined ? undefined : Number(minor);
  } catch {
    return undefined;
  }
}

/** The GPUs whose nodes were open; all of this host where that cannot be told. */
function gpuRows(driver: CudaDriver, before: readonly GpuDevice[], after: readonly GpuDevice[], minors: ReadonlySet<number>): GpuRow[] {
  const used = before.filter(({ bus }) => {
    const minor = minorOf(bus);
    return minor !== undefined && minors.has(minor);
  });
  return (used.length > 0 ? used : before).map((gpu) => {
    const freed = after.find(({ uuid }) => uuid === gpu.uuid)?.freeBytes;
    const usedBytes = freed === undefined || gpu.freeBytes === undefined || freed < gpu.freeBytes ? 0n : freed - gpu.freeBytes;
    return {
      uuid: gpu.uuid,
      name: gpu.name,
      memoryBytes: gpu.totalBytes,
      usedBytes,
      driver: driver.release,
      cudaVersion: driver.cudaVersion,
    };
  });
}
