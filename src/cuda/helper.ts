// SPDX-License-Identifier: Apache-2.0
/**
 * build/crimg-cuda (native/cuda): the program that loads the CUDA driver for crimg. It holds what it locked: whatever
 * becomes of crimg, it gives devices and liberty back to every process when the pipe between them closes.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";
import { memfdCreate } from "../native/index.js";
import { isSingleExecutable, readResource, resourcePath } from "../resources/resources.js";

export interface GpuDevice {
  /** `GPU-…`. */
  readonly uuid: string;
  /** PCI bus id, such as `0000:01:00.0`; "" if unknown. */
  readonly bus: string;
  readonly totalBytes: bigint;
  /** Undefined where NVML is not there to tell. */
  readonly freeBytes: bigint | undefined;
  readonly name: string;
}

export interface CudaDriver {
  /** 1000 * major + 10 * minor. */
  readonly cudaVersion: number;
  /** `580.159.04`; "" if unknown. */
  readonly release: string;
}

/** A question that the driver refused, in its own words. */
export class DriverRefusal extends Error {}

const name = "build/crimg-cuda";
let inMemory: string | undefined;

/** What the single executable holds, as a file that can be executed as long as this process lives. */
function helperInMemory(): string {
  if (inMemory === undefined) {
    const fd = memfdCreate("crimg-cuda");
    writeFileSync(`/proc/self/fd/${fd}`, readResource(name));
    inMemory = `/proc/${process.pid}/fd/${fd}`;
  }
  return inMemory;
}

/** Path of the helper. Throws CrimgError `cuda.helper` if it is not built. */
export function helperPath(): string {
  if (isSingleExecutable()) return helperInMemory();
  const path = resourcePath(name);
  if (existsSync(path)) return path;
  throw new CrimgError("cuda.helper", `the part of crimg that asks the CUDA driver is missing: ${path}`, { hint: "run: npm run build" });
}

/** `gpu UUID BUS TOTAL FREE NAME`, separated by tabs. */
function parseDevice(line: string): GpuDevice | undefined {
  const [word, uuid, bus, total, free, ...name] = line.split("\t");
  if (word !== "gpu" || uuid === undefined || bus === undefined || !/^\d+$/.test(total ?? "")) return undefined;
  return {
    uuid,
    bus: bus === "-" ? "" : bus.toLowerCase(),
    totalBytes: BigInt(total ?? 0),
    freeBytes: /^\d+$/.test(free ?? "") ? BigInt(free ?? 0) : undefined,
    name: name.join(" "),
  };
}

function driverOf(cudaVersion: string | undefined, release: string | undefined): CudaDriver {
  return { cudaVersion: Number(cudaVersion), release: release === undefined || release === "-" ? "" : release };
}

export type HostCuda = (CudaDriver & { readonly gpus: readonly GpuDevice[] }) | { readonly problem: string };

/** The driver and GPUs of this host, or why there are none. Takes as long as the driver takes to start (a bound: 20 s). */
export function hostDevices(): HostCuda {
  let helper: string;
  try {
    helper = helperPath();
  } catch (error) {
    if (error instanceof CrimgError) return { problem: error.message };
    throw error;
  }
  const { stdout, error } = spawnSync(helper, ["devices"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 20_000,
    killSignal: "SIGKILL",
  });
  if (error !== undefined) return { problem: `the CUDA driver does not answer (${error.message})` };
  const lines = stdout.split("\n");
  const problem = lines.find((line) => line.startsWith("error "));
  if (problem !== undefined) return { problem: problem.slice("error ".length) };
  const [, version, release] = lines.find((line) => line.startsWith("driver\t"))?.split("\t") ?? [];
  return { ...driverOf(version, release), gpus: lines.flatMap((line) => parseDevice(line) ?? []) };
}

/** Longest wait for the helper to end when nothing is asked of it, milliseconds. */
const endMs = 2000;
/** How often somebody looks whether the wait is to be given up, milliseconds. */
const checkMs = 20;

/** A running helper, asked one question at a time. */
export class CudaHelper {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #rest = "";
  #hasEnded = false;
  #wake: (() => void) | undefined;

  private constructor(
    child: ChildProcess,
    readonly check: () => void,
  ) {
    this.#child = child;
    child.stdout?.setEncoding("utf8");
    child.stdout?.on("data", (text: string) => {
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop() ?? "";
      this.#lines.push(...lines);
      this.#wake?.();
    });
    const ended = (): void => {
      this.#hasEnded = true;
      this.#wake?.();
    };
    child.on("exit", ended);
    child.on("error", ended);
    // It may end before it has read what we say.
    child.stdin?.on("error", ended);
  }

  /**
   * Starts the helper and the driver in it. `check` is called while waiting, and throws to give up.
   * @throws DriverRefusal if there is no driver
   */
  static async start(check: () => void): Promise<{ readonly helper: CudaHelper; readonly driver: CudaDriver }> {
    // A session of its own: the keys of the terminal end crimg, not what mends after it.
    const child = spawn(helperPath(), ["serve"], { detached: true, stdio: ["pipe", "pipe", "ignore"] });
    const helper = new CudaHelper(child, check);
    try {
      const [version, release] = (await helper.#answer()).split(" ");
      return { helper, driver: driverOf(version, release) };
    } catch (error) {
      await helper.close();
      throw error;
    }
  }

  /** What follows `ok`. @throws DriverRefusal */
  async ask(question: string): Promise<string> {
    this.#child.stdin?.write(`${question}\n`);
    return this.#answer();
  }

  async devices(): Promise<GpuDevice[]> {
    this.#child.stdin?.write("devices\n");
    const devices: GpuDevice[] = [];
    for (;;) {
      const line = await this.#line();
      const device = parseDevice(line);
      if (device !== undefined) devices.push(device);
      else if (line.startsWith("ok")) return devices;
      else throw new DriverRefusal(line.replace(/^error /, ""));
    }
  }

  /**
   * Closes the pipe: what is still held is given back. Waits a moment for the helper's end; one that waits for the driver
   * goes on by itself.
   */
  async close(): Promise<void> {
    this.#child.stdin?.end();
    const end = performance.now() + endMs;
    while (!this.#hasEnded && performance.now() < end) await this.#pause();
    this.#child.stdout?.destroy();
    this.#child.unref();
  }

  async #answer(): Promise<string> {
    const line = await this.#line();
    if (line === "ok" || line.startsWith("ok ")) return line.slice(3);
    throw new DriverRefusal(line.replace(/^error /, ""));
  }

  async #line(): Promise<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      if (this.#hasEnded) throw new DriverRefusal("crimg-cuda ended before it answered");
      await this.#pause();
      this.check();
    }
  }

  /** Until something happens, or a short time has passed. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, checkMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
